"""A log in another protocol's words. The protocol is a ``Translation``: entries in, bytes out, with what it has to
remember in between; here is what all of them share: slots, the client's end, heartbeats, and whole answers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from typing import Protocol

from flask import Response, request

from spool.errors import Draining, JobGone, StoreUnavailable
from spool.jobs import Job
from spool.log import Row
from spool.reader import Reader
from web import sse
from web.metrics import STREAMS
from web.state import State, state
from web.stream import head_response
from web.streams import Peer

_ROWS = 500
CLIENT_LEFT = 499
"""The status of an answer that nobody reads; nginx counts those under it."""


class Translation(Protocol):
    """One stream of a foreign protocol. It is fed all entries of its log from the first one on, so that any instance
    makes the same stream of the same log."""

    name: str
    """For the metrics."""

    def opening(self) -> bytes:
        """What is sent at once; may be empty."""
        ...

    def entries(self, rows: list[Row]) -> bytes:
        """What these entries add; may be empty."""
        ...

    @property
    def over(self) -> bool:
        """It has ended by itself: nothing that comes can be said any more."""
        ...

    def heartbeat(self) -> bytes:
        """What is sent in silence."""
        ...

    def broken_off(self, code: str, message: str) -> bytes | None:
        """The stream cannot go on here: this server goes away, Redis does, or entries are missing. None: the connection
        is to be cut, which every client notices."""
        ...


def streamed(job: Job, translation: Translation, headers: Mapping[str, str]) -> Response:
    """The job's log as a stream of events, from its beginning. Raises ``Draining`` and ``TooManyStreams``."""
    here = state()
    here.refuse_streams()
    headers = {**sse.HEADERS, **headers}
    if request.method == "HEAD":
        return head_response(sse.MEDIA_TYPE, headers)
    with ExitStack() as entering:
        entering.enter_context(here.slots.one())
        entering.enter_context(STREAMS.labels(translation.name).track_inprogress())
        reader = entering.enter_context(here.follower.attach(job, 0, patient=True))
        peer = Peer(request.environ)
        entering.callback(peer.close)
        peer.watch(reader.wake)
        held = entering.pop_all()
    body = _push(reader, translation, peer, here.settings.heartbeat_s)
    response = Response(body, mimetype=sse.MEDIA_TYPE, headers=headers)
    response.call_on_close(held.close)
    return response


def _push(reader: Reader, translation: Translation, peer: Peer, heartbeat_s: float) -> Iterator[bytes]:
    yield translation.opening()
    # A little early: the follower looks at idle readers twice a second.
    heartbeat_s = max(heartbeat_s - 0.5, heartbeat_s * 0.5)
    beat_at = time.monotonic() + heartbeat_s
    while not peer.gone:
        try:
            rows, gap, ended = reader.take_rows(_ROWS)
        except StoreUnavailable:
            yield from _break_off(
                translation, peer, "store_unavailable", "Redis cannot be reached or cannot answer now"
            )
            return
        if gap is not None:
            yield from _break_off(translation, peer, "entries_missing", "a part of this answer has been lost")
            return
        data = translation.entries(rows) if rows else b""
        if data:
            beat_at = time.monotonic() + heartbeat_s
            if left := peer.send(data):
                yield left
        if ended or translation.over:
            return
        if reader.must_leave:
            yield from _break_off(translation, peer, "server_draining", "this server is going away")
            return
        if rows:
            continue
        reader.tick_at = beat_at
        if not reader.wait() and time.monotonic() >= beat_at:
            yield translation.heartbeat()
            beat_at = time.monotonic() + heartbeat_s


def _break_off(translation: Translation, peer: Peer, code: str, message: str) -> Iterator[bytes]:
    data = translation.broken_off(code, message)
    if data is None:
        peer.cut()
    else:
        yield data


def wait_for_all(here: State, job: Job, take: Callable[[bytes], object]) -> bool:
    """Hand every entry of the job's log to ``take``, for a client that waits for the whole answer. True once it has
    ended, False if the client left before. Raises ``Draining`` if this server has to go first, ``TooManyStreams``,
    ``StoreUnavailable``, and ``JobGone`` if entries are missing."""
    peer = Peer(request.environ)
    with here.slots.one(), here.follower.attach(job, 0, patient=True) as reader, closing(peer):
        peer.watch(reader.wake)
        while not peer.gone:
            rows, gap, ended = reader.take_rows(_ROWS)
            if gap is not None:
                raise JobGone(job.id)
            for _entry_id, raw in rows:
                take(raw)
            if ended:
                return True
            if reader.must_leave:
                raise Draining
            if not rows:
                reader.wait()
    return False
