"""The one loop that waits for an answer: ``collect`` takes entries until there are enough."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any

from flask import request

from spool.deadline import Deadline
from spool.errors import Draining, JobGone
from spool.following.reader import Reader
from spool.jobs.entries import decode_all, kind_of
from spool.jobs.job import Job
from spool.jobs.log import Gap, Row
from web import auth
from web.access.authenticator import not_authenticated
from web.delivery.encoding import Trouble
from web.folds import Fold
from web.server.peer import PeerWatch, presence
from web.services import State

_ROWS = 500
_BEFORE_OUTPUT = frozenset({b"started", b"restarted", b"continued", b"waiting"})
_EARLY_ENDS = frozenset({b"failed", b"cancelled"})

Taken = tuple[list[Row], Gap | None, bool]
"""Entries, a gap before them, and whether the log ends with them."""


class Outcome(enum.Enum):
    """Why the wait ended."""

    ENOUGH = enum.auto()
    LATE = enum.auto()
    LEFT = enum.auto()
    DRAINING = enum.auto()


@contextmanager
def attached(services: State, job: Job, after: int, *, follow: bool = True, patient: bool = False) -> Iterator[Reader]:
    """A reader of the job for this request. It is expelled once the caller's credential is no longer valid. Raises
    ``OwnerStreamsFull`` at the limit of streams of the caller's key. Without ``follow`` it is no stream, and ends at
    once."""
    with services.follower.attach(job, after, follow=follow, patient=patient) as reader:
        if not follow:
            yield reader
            return
        let_go = services.authenticator.tenures.hold(auth.caller(), reader.expel)
        try:
            yield reader
        finally:
            let_go()


def collect(
    reader: Reader,
    environ: Mapping[str, Any],
    deadline: Deadline,
    enough: Callable[[list[Row], Gap | None, bool], bool],
    *,
    take: Callable[[Reader, int], Taken] = Reader.take_rows,
) -> Outcome:
    """Pass the reader's entries to ``enough`` until it returns True. Stops early at the deadline, and once the client
    disconnects or this process drains. Raises ``StoreUnavailable``."""
    with closing(PeerWatch(environ.get("gunicorn.socket"), reader.wake)) as watch:
        while True:
            rows, gap, ended = take(reader, _ROWS)
            if enough(rows, gap, ended):
                return Outcome.ENOUGH
            if watch.is_gone:
                return Outcome.LEFT
            if reader.must_leave:
                return Outcome.DRAINING
            if deadline.passed:
                return Outcome.LATE
            if not rows:
                reader.wait(deadline.left_s)


def wait_for_end(services: State, job: Job, wait_s: float) -> bool:
    """Whether the job ends within ``wait_s``. Stops early if the client disconnects or this process drains. Raises
    ``TooManyStreams``, ``StoreUnavailable``."""
    with services.slots.one(job.owner), attached(services, job, job.last_entry) as reader:
        outcome = collect(reader, request.environ, Deadline.after(wait_s), lambda _rows, _gap, ended: ended)
    return outcome is Outcome.ENOUGH


def early_end(services: State, job: Job, within_s: float) -> dict[str, Any] | None:
    """The terminal entry of a job that fails or is cancelled before its first piece of output. None after ``within_s``
    seconds, and once there is output. Stops early if the client disconnects or this process drains. Raises
    ``StoreUnavailable``, ``UndecodableRecord``."""
    ends: list[bytes] = []

    def has_begun(rows: list[Row], gap: Gap | None, ended: bool) -> bool:
        for _entry_id, raw in rows:
            kind = kind_of(raw)
            if kind in _EARLY_ENDS:
                ends.append(raw)
            elif kind in _BEFORE_OUTPUT:
                continue
            return True
        return ended or gap is not None

    with attached(services, job, 0, patient=True) as reader:
        collect(reader, request.environ, Deadline.after(within_s), has_begun)
    return decode_all(ends)[0] if ends else None


def wait_for_all(services: State, job: Job, into: Fold) -> bool:
    """Fold the job's log to its end, for a client that waits for the whole answer. True once it has ended, False if the
    client disconnected before. The caller holds a stream slot. Raises ``Draining`` if this process drains first,
    ``StoreUnavailable``, and ``JobGone`` if entries are missing."""
    if not job.ended:
        return _fold_all(services, job, into)
    with services.folds.whole(job.owner, presence(request.environ)) as is_wanted:
        return is_wanted and _fold_all(services, job, into)


def _fold_all(services: State, job: Job, into: Fold) -> bool:
    def fold(rows: list[Row], gap: Gap | None, ended: bool) -> bool:
        if gap is not None:
            raise JobGone(job.id)
        into.add_all([raw for _entry_id, raw in rows])
        return ended

    with attached(services, job, 0, patient=True) as reader:
        outcome = collect(reader, request.environ, Deadline.never(), fold, take=services.folds.take_rows)
    if outcome is Outcome.DRAINING:
        raise not_authenticated(Trouble.NOT_AUTHENTICATED.message) if reader.is_expelled else Draining
    return outcome is Outcome.ENOUGH
