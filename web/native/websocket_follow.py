"""The jobs that one ``/ws`` socket follows: at most a hundred, one greenlet each, one page in memory for all.

Each job takes a stream slot, because it costs as much as a stream; the first uses the socket's own slot.
"""

from __future__ import annotations

import logging
from contextlib import ExitStack
from typing import Any

import gevent
from gevent.lock import RLock

from spool.errors import StoreUnavailable
from spool.following.reader import Reader
from spool.jobs.job import Job
from web import auth
from web.delivery.formats import ws_json
from web.delivery.formats.ws_json import JobMessages
from web.problems import Problem
from web.services import State

log = logging.getLogger("spool.web")

FOLLOWED_AT_MOST = 100


class Followed:
    """All jobs that one socket follows."""

    def __init__(self, services: State, ws: Any) -> None:
        self._services = services
        self._ws = ws
        self._jobs: dict[str, _Following] = {}
        self.turn = RLock()
        """Held from the read of a page until it is sent, so that a stalled client keeps one page in memory, not one for
        each job."""

    def say(self, document: dict[str, Any]) -> None:
        """Send one message."""
        self.send(ws_json.message(document))

    def send(self, frames: bytes) -> None:
        """Send whole frames."""
        self._ws.sock.send(frames)

    def refuse_when_full(self) -> None:
        """Raise a 429 ``Problem`` or ``TooManyStreams`` if another job cannot be followed. An unfollowed job counts
        until its last page is sent."""
        if len(self._jobs) >= FOLLOWED_AT_MOST:
            raise Problem(
                429, "Too many requests", f"a socket can follow at most {FOLLOWED_AT_MOST} jobs; unfollow some"
            )
        if self._jobs:
            self._services.slots.refuse_when_full(auth.owner())

    def follow(self, job: Job, after: int) -> None:
        """Follow a job from ``after``. An already followed job restarts there. Raises like ``refuse_when_full``."""
        if following := self._jobs.get(job.id):
            following.move(self._services.follower.attach(job, after))
            return
        self.refuse_when_full()
        with ExitStack() as entering:
            if self._jobs:
                entering.enter_context(self._services.slots.one(job.owner))
            reader = self._services.follower.attach(job, after)
            self._jobs[job.id] = _Following(self, job.id, reader, entering.pop_all())

    def unfollow(self, job_id: str) -> None:
        """Stop following the job."""
        if following := self._jobs.get(job_id):
            following.move(None)

    def close(self) -> None:
        """Stop following all jobs. The socket is closed or closing, so no send blocks for long."""
        for following in list(self._jobs.values()):
            following.move(None)

    def leave(self, reader: Reader) -> None:
        """Detach the reader."""
        self._services.follower.leave(reader)

    def forget(self, job_id: str) -> None:
        """Drop the job, whose greenlet has ended."""
        del self._jobs[job_id]

    def broke(self) -> None:
        """Mark the connection as broken."""
        self._ws.connected = False


class _Following:
    """One followed job in its own greenlet, which is never killed: that could truncate a frame."""

    def __init__(self, socket: Followed, job_id: str, reader: Reader, place: ExitStack) -> None:
        self._socket = socket
        self._messages = JobMessages(job_id)
        self._reader: Reader | None = reader
        self._place = place
        gevent.spawn(self._run)

    def move(self, reader: Reader | None) -> None:
        """Continue with another reader, or end if None."""
        before, self._reader = self._reader, reader
        if before is not None:
            self._socket.leave(before)
            before.wake()

    def _run(self) -> None:
        try:
            self._follow()
        except OSError:
            # The client disconnected or stalled.
            self._socket.broke()
        except Exception:
            # The greenlet's boundary: without this the socket would stay silent for the job.
            log.exception("following job %s on a WebSocket failed", self._messages.job_id)
            self._socket.broke()
        finally:
            self.move(None)
            self._socket.forget(self._messages.job_id)
            self._place.close()

    def _follow(self) -> None:
        try:
            while (reader := self._reader) is not None:
                with self._socket.turn:
                    # The reader may have been replaced while this waited for its turn.
                    has_sent, has_ended = self._send(reader) if self._reader is reader else (True, False)
                if has_ended and self._reader is reader:
                    return
                if not has_sent:
                    reader.wait()
        except StoreUnavailable:
            self._socket.send(self._messages.error(503, "Redis is unreachable; retry"))

    def _send(self, reader: Reader) -> tuple[bool, bool]:
        """Send the pending entries. Returns whether there were any, and whether the log has ended."""
        taken = reader.take(self._messages)
        if taken is None:
            return False, False
        if taken.gap is not None:
            self._socket.send(self._messages.gap(taken.gap))
        if taken.data:
            self._socket.send(taken.data)
        if taken.gone:
            self._socket.send(self._messages.error(410, "the log has expired or was deleted"))
        elif taken.ended:
            self._socket.send(self._messages.ended(taken.last))
        return True, taken.ended
