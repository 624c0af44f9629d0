"""Streams and whole responses in another protocol's events.

An ``EventAdapter`` is the stateful translation: entries in, bytes out. This module holds the parts that all adapters
share: slots, disconnects, heartbeats and whole responses.
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
    """One stream of another protocol. It gets all entries of its log from the first, so that every instance makes the
    same stream of the same log."""

    name: str
    """The stream's label in metrics."""

    def opening(self) -> bytes:
        """The bytes sent at once; may be empty."""
        ...

    def entries(self, rows: list[Row]) -> bytes:
        """The bytes for these entries; may be empty. Raises ``UndecodableRecord``."""
        ...

    def replay(self, reader: Reader) -> bytes | None:
        """The bytes of the next page if they are known, which moves the reader past it; empty if none of it is sent.
        None: nothing was read, and the page must go through ``entries``. Called in a turn of ``Folds``."""
        ...

    @property
    def over(self) -> bool:
        """Whether the stream has ended by itself and takes no more entries."""
        ...

    def heartbeat(self) -> bytes:
        """The bytes sent after a silence."""
        ...

    def broken_off(self, code: str, message: str) -> bytes | None:
        """The last bytes of a stream that cannot continue: this process drains, Redis fails, or entries are missing.
        None cuts the connection, which every client notices."""
        ...


def streamed(job: Job, adapter: EventAdapter, headers: Mapping[str, str], place: ExitStack | None = None) -> Response:
    """The job's log as a stream of events from its start. ``place`` holds an already acquired slot. Raises
    ``Draining``, ``TooManyStreams``."""
    services = state()
    if place is None:
        services.refuse_streams(job.owner)
    elif services.draining:
        raise Draining
    headers = {**sse.HEADERS, **headers}
    if request.method == "HEAD":
        return head_response(sse.MEDIA_TYPE, headers)
    with place or ExitStack() as entering:
        if place is None:
            entering.enter_context(services.slots.one(job.owner))
        entering.enter_context(STREAMS.labels(adapter.name).track_inprogress())
        reader = entering.enter_context(services.follower.attach(job, 0, patient=True))
        peer = Peer(request.environ)
        entering.callback(peer.close)
        peer.watch(reader.wake)
        held = entering.pop_all()
    body = _push(services.folds, reader, adapter, peer, services.settings.heartbeat_s)
    response = Response(body, mimetype=sse.MEDIA_TYPE, headers=headers)
    response.call_on_close(held.close)
    return response


def _push(folds: Folds, reader: Reader, adapter: EventAdapter, peer: Peer, heartbeat_s: float) -> Iterator[bytes]:
    yield adapter.opening()
    # Half a second early, because the follower checks idle readers twice a second.
    heartbeat_s = max(heartbeat_s - 0.5, heartbeat_s * 0.5)
    beat_at = time.monotonic() + heartbeat_s
    while not peer.gone:
        taken = _take(folds, reader, adapter, beat_at)
        if taken.trouble is None and taken.data:
            beat_at = time.monotonic() + heartbeat_s
            if left := peer.send(taken.data):
                yield left
        if taken.ended or adapter.over:
            return
        trouble = taken.trouble or (_DRAINING if reader.must_leave else None)
        if trouble is not None:
            yield from _break_off(adapter, peer, *trouble)
            return
        if not taken.moved and not taken.waited:
            reader.tick_at = beat_at
            reader.wait()
        if time.monotonic() >= beat_at:
            yield adapter.heartbeat()
            beat_at = time.monotonic() + heartbeat_s


_DRAINING = ("server_draining", "this instance is draining")
_UNAVAILABLE = ("store_unavailable", "Redis is unreachable or does not answer")
_LOST = ("entries_missing", "entries of this answer are missing")


class _Taken(NamedTuple):
    """The result of one poll of the reader.

    ``data`` is to be sent. ``moved``: the reader advanced. ``waited``: no turn became free in time. ``ended``: the log
    ends here. ``trouble``: the code and message of the error that ends the stream."""

    data: bytes = b""
    moved: bool = False
    waited: bool = False
    ended: bool = False
    trouble: tuple[str, str] | None = None


def _take(folds: Folds, reader: Reader, adapter: EventAdapter, until: float) -> _Taken:
    try:
        if not reader.is_behind:
            return _translated(reader, adapter)
        if not folds.enter(until - time.monotonic()):
            return _Taken(waited=True)
        try:
            while (data := adapter.replay(reader)) is not None:
                if data or adapter.over or folds.is_spent:
                    return _Taken(data, moved=True)
            return _translated(reader, adapter)
        finally:
            folds.leave()
    except StoreUnavailable:
        return _Taken(trouble=_UNAVAILABLE)
    except UndecodableRecord:
        log.exception("cannot decode the log of job %s", reader.feed.job_id)
        return _Taken(trouble=_LOST)


def _translated(reader: Reader, adapter: EventAdapter) -> _Taken:
    rows, gap, ended = reader.take_rows(_ROWS)
    if gap is not None:
        return _Taken(trouble=_LOST)
    return _Taken(adapter.entries(rows) if rows else b"", moved=bool(rows), ended=ended)


def _break_off(adapter: EventAdapter, peer: Peer, code: str, message: str) -> Iterator[bytes]:
    data = adapter.broken_off(code, message)
    if data is None:
        peer.cut()
    else:
        yield data


def wait_for_all(services: State, job: Job, into: Fold) -> bool:
    """Fold the job's log to its end, for a client that waits for the whole answer. True once it has ended, False if the
    client disconnected before. The caller holds a stream slot. Raises ``Draining`` if this process drains first,
    ``StoreUnavailable``, and ``JobGone`` if entries are missing."""
    if not job.ended:
        return _fold_all(services, job, into)
    with services.folds.whole(presence(request.environ)) as is_wanted:
        return is_wanted and _fold_all(services, job, into)


def _fold_all(services: State, job: Job, into: Fold) -> bool:
    peer = Peer(request.environ)
    with services.follower.attach(job, 0, patient=True) as reader, closing(peer):
        peer.watch(reader.wake)
        while not peer.gone:
            rows, gap, ended = services.folds.take_rows(reader, _ROWS)
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
