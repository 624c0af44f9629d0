"""A log in another protocol's words. The protocol is a ``EventAdapter``: entries in, bytes out, with what it has to
remember in between; here is what all of them share: slots, the client's end, heartbeats, and whole answers.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from typing import NamedTuple, Protocol

from flask import Response, request

from spool.errors import Draining, JobGone, StoreUnavailable, UndecodableRecord
from spool.following.reader import Reader
from spool.jobs.job import Job
from spool.jobs.log import Row
from web.delivery.formats import sse
from web.delivery.peer import Peer, presence
from web.delivery.streaming import head_response
from web.folds import Fold, Folds
from web.metrics import STREAMS
from web.services import State, state

_ROWS = 500
log = logging.getLogger("spool.web")


class EventAdapter(Protocol):
    """One stream of a foreign protocol. It is fed all entries of its log from the first one on, so that any instance
    makes the same stream of the same log."""

    name: str
    """For the metrics."""

    def opening(self) -> bytes:
        """What is sent at once; may be empty."""
        ...

    def entries(self, rows: list[Row]) -> bytes:
        """What these entries add; may be empty. Raises ``UndecodableRecord``."""
        ...

    def skip(self, reader: Reader) -> bool:
        """Take the next page at once and move the reader over it, where nothing of it is to be sent. False, and nothing
        taken: it must come by ``entries``. Raises ``StoreUnavailable``, ``UndecodableRecord``."""
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


def streamed(
    job: Job, translation: EventAdapter, headers: Mapping[str, str], place: ExitStack | None = None
) -> Response:
    """The job's log as a stream of events, from its beginning. ``place`` holds its slot already. Raises ``Draining``,
    ``TooManyStreams``."""
    here = state()
    if place is None:
        here.refuse_streams(job.owner)
    elif here.draining:
        raise Draining
    headers = {**sse.HEADERS, **headers}
    if request.method == "HEAD":
        return head_response(sse.MEDIA_TYPE, headers)
    with place or ExitStack() as entering:
        if place is None:
            entering.enter_context(here.slots.one(job.owner))
        entering.enter_context(STREAMS.labels(translation.name).track_inprogress())
        reader = entering.enter_context(here.follower.attach(job, 0, patient=True))
        peer = Peer(request.environ)
        entering.callback(peer.close)
        peer.watch(reader.wake)
        held = entering.pop_all()
    body = _push(here.folds, reader, translation, peer, here.settings.heartbeat_s)
    response = Response(body, mimetype=sse.MEDIA_TYPE, headers=headers)
    response.call_on_close(held.close)
    return response


def _push(folds: Folds, reader: Reader, translation: EventAdapter, peer: Peer, heartbeat_s: float) -> Iterator[bytes]:
    yield translation.opening()
    # A little early: the follower looks at idle readers twice a second.
    heartbeat_s = max(heartbeat_s - 0.5, heartbeat_s * 0.5)
    beat_at = time.monotonic() + heartbeat_s
    while not peer.gone:
        taken = _take(folds, reader, translation, beat_at)
        if taken.trouble is None and taken.data:
            beat_at = time.monotonic() + heartbeat_s
            if left := peer.send(taken.data):
                yield left
        if taken.ended or translation.over:
            return
        trouble = taken.trouble or (_DRAINING if reader.must_leave else None)
        if trouble is not None:
            yield from _break_off(translation, peer, *trouble)
            return
        if not taken.moved and not taken.waited:
            reader.tick_at = beat_at
            reader.wait()
        if time.monotonic() >= beat_at:
            yield translation.heartbeat()
            beat_at = time.monotonic() + heartbeat_s


_DRAINING = ("server_draining", "this server is going away")
_UNAVAILABLE = ("store_unavailable", "Redis cannot be reached or cannot answer now")
_LOST = ("entries_missing", "a part of this answer has been lost")


class _Taken(NamedTuple):
    """What a look at the reader gave: bytes to send, whether it moved or waited for its turn in vain, whether the log
    ends there, and what keeps the stream from going on."""

    data: bytes = b""
    moved: bool = False
    waited: bool = False
    ended: bool = False
    trouble: tuple[str, str] | None = None


def _take(folds: Folds, reader: Reader, translation: EventAdapter, until: float) -> _Taken:
    try:
        if not reader.is_behind:
            return _translated(reader, translation)
        if not folds.enter(until - time.monotonic()):
            return _Taken(waited=True)
        try:
            while translation.skip(reader):
                if folds.is_spent:
                    return _Taken(moved=True)
            return _translated(reader, translation)
        finally:
            folds.leave()
    except StoreUnavailable:
        return _Taken(trouble=_UNAVAILABLE)
    except UndecodableRecord:
        log.exception("log of %s cannot be read", reader.feed.job_id)
        return _Taken(trouble=_LOST)


def _translated(reader: Reader, translation: EventAdapter) -> _Taken:
    rows, gap, ended = reader.take_rows(_ROWS)
    if gap is not None:
        return _Taken(trouble=_LOST)
    return _Taken(translation.entries(rows) if rows else b"", moved=bool(rows), ended=ended)


def _break_off(translation: EventAdapter, peer: Peer, code: str, message: str) -> Iterator[bytes]:
    data = translation.broken_off(code, message)
    if data is None:
        peer.cut()
    else:
        yield data


def wait_for_all(here: State, job: Job, into: Fold) -> bool:
    """Fold the job's log to its end, for a client that waits for the whole answer. True once it has
    ended, False if the client left before. The caller holds a stream's slot. Raises ``Draining`` if this server has to
    go first, ``StoreUnavailable``, and ``JobGone`` if entries are missing."""
    if not job.ended:
        return _fold_all(here, job, into)
    with here.folds.whole(presence(request.environ)) as is_wanted:
        return is_wanted and _fold_all(here, job, into)


def _fold_all(here: State, job: Job, into: Fold) -> bool:
    peer = Peer(request.environ)
    with here.follower.attach(job, 0, patient=True) as reader, closing(peer):
        peer.watch(reader.wake)
        while not peer.gone:
            rows, gap, ended = here.folds.take_rows(reader, _ROWS)
            if gap is not None:
                raise JobGone(job.id)
            into.add_all([raw for _entry_id, raw in rows])
            if ended:
                return True
            if reader.must_leave:
                raise Draining
            if not rows:
                reader.wait()
    return False
