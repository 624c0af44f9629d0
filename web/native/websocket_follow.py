"""The jobs and batches that one ``/ws`` socket follows: at most a hundred, each a stream of its own on the shared
connection. A batch's log counts like a job's.

Each job takes a stream slot, because it costs as much as a stream, and counts at its key's limit; the first uses the
socket's own slot.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from weakref import WeakValueDictionary

from gevent.event import Event

from spool.access.caller import Caller
from spool.errors import TooManyStreams
from spool.following.reader import Reader
from spool.jobs.job import Job
from web.delivery.encoding import Shared, bare
from web.delivery.formats.ws_json import JobMessages
from web.delivery.live import LiveStream
from web.problems import Problem
from web.server.websocket import WebSocket
from web.services import State

FOLLOWED_AT_MOST = 100

_encodings: WeakValueDictionary[tuple[str, bool], Shared] = WeakValueDictionary()
"""One object per followed job and form of heartbeats, so that its entries are encoded once for all sockets."""


class Followed:
    """All jobs that one socket follows."""

    def __init__(self, services: State, socket: WebSocket, caller: Caller, *, has_visible_heartbeats: bool) -> None:
        self.socket = socket
        self._has_visible_heartbeats = has_visible_heartbeats
        self._heartbeat_s = services.settings.heartbeat_s if has_visible_heartbeats else float("inf")
        self._services = services
        self._caller = caller
        self._jobs: dict[str, _Channel] = {}
        self._is_over = False
        self._freed: Event | None = None
        socket.watch(self._end)

    def is_wanted(self) -> bool:
        """Whether the socket is still open."""
        return not self._is_over

    def refuse_when_full(self) -> None:
        """Raise a 429 ``Problem`` or ``TooManyStreams`` if another job cannot be followed. An unfollowed job counts
        until its last page is sent."""
        if len(self._jobs) >= FOLLOWED_AT_MOST:
            raise Problem(
                429, "Too many requests", f"a socket can follow at most {FOLLOWED_AT_MOST} jobs; unfollow some"
            )
        if self._jobs:
            self._services.authenticator.tenures.refuse_when_full(self._caller)
            self._services.slots.refuse_when_full(self._caller.owner)

    def follow(self, job: Job, after: int, opening: bytes = b"") -> None:
        """Follow a job from ``after``; ``opening`` are the frames before its entries. An already followed job restarts
        there, after its current page. Raises like ``refuse_when_full``, and ``OSError``."""
        while job.id in self._jobs:
            self.unfollow(job.id)
            if job.id in self._jobs:
                self._freed = Event()
                self._freed.wait()
        if self._is_over:
            return
        self.refuse_when_full()
        if opening:
            with self.socket.turn():
                self.socket.send(opening)
        # Patient, because the socket itself closes during a drain.
        reader = self._services.follower.attach(job, after, patient=True)
        release = partial(self._release, reader, bool(self._jobs))
        if self._jobs:
            try:
                self._take()
            except TooManyStreams:
                # Another socket was faster while the opening was sent.
                reader.close()
                raise
        key = job.id, self._has_visible_heartbeats
        encoding = _encodings.get(key)
        if encoding is None:
            form = JobMessages(job.id, has_visible_heartbeats=self._has_visible_heartbeats)
            encoding = _encodings[key] = Shared(form, bare)
        channel = self._jobs[job.id] = _Channel(self, job.id)
        LiveStream(reader, encoding, b"", release, heartbeat_s=self._heartbeat_s).begin(channel)

    def unfollow(self, job_id: str) -> None:
        """Stop following the job."""
        if channel := self._jobs.get(job_id):
            channel.leave()

    def forget(self, job_id: str) -> None:
        """Drop the job, whose stream has ended."""
        self._jobs.pop(job_id, None)
        if self._freed is not None:
            self._freed.set()

    def _take(self) -> None:
        tenures = self._services.authenticator.tenures
        tenures.take(self._caller)
        try:
            self._services.slots.take(self._caller.owner)
        except TooManyStreams:
            tenures.give_back(self._caller)
            raise

    def _release(self, reader: Reader, has_slot: bool) -> None:
        self._services.follower.leave(reader)
        if has_slot:
            self._services.slots.give_back(self._caller.owner)
            self._services.authenticator.tenures.give_back(self._caller)

    def _end(self) -> None:
        self._is_over = True
        for job_id in list(self._jobs):
            self.unfollow(job_id)


class _Channel:
    """One job's share of the socket: the connection of its ``LiveStream``."""

    __slots__ = ("_followed", "_is_leaving", "_job_id", "_on_gone")

    def __init__(self, followed: Followed, job_id: str) -> None:
        self._followed = followed
        self._job_id = job_id
        self._is_leaving = False
        self._on_gone: Callable[[], object]

    def watch(self, on_gone: Callable[[], object]) -> None:
        """Call ``on_gone`` once the job is unfollowed, or the socket closes."""
        self._on_gone = on_gone

    def leave(self) -> None:
        """End the stream, after the page that it sends."""
        self._is_leaving = True
        self._on_gone()

    @property
    def is_taken(self) -> bool:
        """Whether a sender has its turn."""
        return self._followed.socket.is_taken

    def turn(self) -> AbstractContextManager[None]:
        """Hold the right to send. It is held from the read of a page until it is sent, so that a stalled client keeps
        one page in memory, not one for each job."""
        return self._followed.socket.turn()

    def send_now(self, data: bytes | memoryview) -> None:
        """Send without blocking. Raises ``OSError``."""
        self._followed.socket.send_now(data)

    def send(self, data: bytes | memoryview) -> None:
        """Send everything. Raises ``OSError``."""
        self._followed.socket.send(data)

    def finish(self, data: bytes) -> None:
        """Send the last messages of the job. Raises ``OSError``."""
        self._followed.socket.send(data)
        self._followed.forget(self._job_id)

    def close(self) -> None:
        """The stream has ended early. Unless the job was unfollowed, the socket is broken, too."""
        self._followed.forget(self._job_id)
        if not self._is_leaving:
            self._followed.socket.close()
