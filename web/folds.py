"""Folds: logs read from their beginning to make something else of them: a conversation, another protocol's events.

A log may have any length, and all folds of a process share its one CPU with the streams. So folds take turns: one page
at a time in a process, first come first served, and everything else runs between two pages. The result for a job that
has ended is kept in memory, and simultaneous requests for it share one fold.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import gevent
from gevent.event import AsyncResult
from gevent.lock import BoundedSemaphore

from spool.errors import TooManyFolds
from spool.following.follower import Follower
from spool.following.reader import Reader
from spool.jobs.job import Job
from spool.jobs.log import PAGE, Gap, Row, Run
from web.problems import Problem

CLIENT_LEFT = 499
"""The status of an answer that nobody reads; nginx counts those under it."""
FOLDS_AT_MOST = 64
"""Folds that one process has under way for plain answers; each holds its result so far. Streams count as streams."""
KEPT_BYTES = 16 * 1024 * 1024
"""Of results that are kept in one process."""
KEPT_ONE_BYTES = 4 * 1024 * 1024
"""A result that is larger is not kept."""
WHOLE_AT_MOST = 8
"""Answers that are made whole at a time, but for those of running jobs, which are as many as run: each is in memory."""
_SLICE_S = 0.002
_PAUSE_S = 0.001
"""After so much work on folds a process pauses all of them for so long: it also has sockets to look at."""
_LOOK_S = 1.0
"""How often one that waits looks whether its client is still there."""


class Fold(Protocol):
    """What a log is folded into."""

    def add_all(self, raws: Sequence[bytes]) -> None:
        """Take the next encoded entries."""
        ...

    def add_run(self, run: Run) -> bool:
        """Take the next entries at once. False, and nothing taken: they must come by themselves."""
        ...


class Result(Fold, Protocol):
    """A fold whose result can be kept."""

    @property
    def size(self) -> int:
        """About how many bytes it is."""
        ...


Kept = TypeVar("Kept", bound=Result)


@dataclass(slots=True)
class _Entry:
    making: AsyncResult[Any] = field(default_factory=AsyncResult)
    size: int = 0


class Folds:
    """The folds of one process."""

    def __init__(
        self,
        follower: Follower,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = gevent.sleep,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._follower = follower
        self._turns = BoundedSemaphore(1)
        self._whole = BoundedSemaphore(WHOLE_AT_MOST)
        self._entered_at = self._used_s = 0.0
        self._under_way = 0
        self._kept: dict[tuple[object, ...], _Entry] = {}
        self._kept_bytes = 0

    def enter(self, within_s: float) -> bool:
        """Take the turn, for one page; False if it did not come within that time. Then ``leave``."""
        if not self._turns.acquire(timeout=max(0.0, within_s)):
            return False
        self._entered_at = self._clock()
        return True

    @property
    def is_spent(self) -> bool:
        """Whether the turn has lasted so long that the next one is due."""
        return self._clock() - self._entered_at >= _SLICE_S

    def leave(self) -> None:
        """Give the turn to the next fold. Everything else of the process runs before the caller goes on."""
        self._used_s += self._clock() - self._entered_at
        try:
            if self._used_s >= _SLICE_S:
                self._used_s = 0.0
                self._sleep(_PAUSE_S)
        finally:
            self._turns.release()
        self._sleep(0)

    def take_rows(self, reader: Reader, limit: int) -> tuple[list[Row], Gap | None, bool]:
        """As the reader's own, in turn where Redis must be asked; nothing if the turn did not come within a second."""
        if not reader.is_behind:
            return reader.take_rows(limit)
        if not self.enter(_LOOK_S):
            return [], None, False
        try:
            return reader.take_rows(limit)
        finally:
            self.leave()

    @contextmanager
    def whole(self, is_wanted: Callable[[], bool]) -> Iterator[bool]:
        """In it a whole answer may be made; False if it is not wanted any more before its turn comes."""
        while not self._whole.acquire(timeout=_LOOK_S):
            if not is_wanted():
                yield False
                return
        try:
            yield True
        finally:
            self._whole.release()

    def fold(self, job: Job, into: Fold, is_wanted: Callable[[], bool], *, after: int = 0) -> None:
        """Hand the job's log, as it is now, to ``into``. Raises ``TooManyFolds``, ``StoreUnavailable``,
        ``UndecodableRecord``, and a ``Problem`` once it is not wanted any more."""
        with self._counted(), self._follower.attach(job, after, follow=False) as reader:
            is_over = False
            while not is_over:
                check_wanted(is_wanted)
                if not self.enter(_LOOK_S):
                    continue
                try:
                    if self._skip(reader, into):
                        continue
                    rows, gap, ended = reader.take_rows(PAGE)
                    into.add_all([raw for _entry_id, raw in rows])
                    is_over = ended or (not rows and gap is None)
                finally:
                    self.leave()

    def _skip(self, reader: Reader, into: Fold) -> bool:
        """Take pages that are runs, as many as the turn has time for. False if the next page is none."""
        while (run := reader.run_ahead()) is not None and into.add_run(run):
            reader.cursor = run.last
            if self.is_spent:
                return True
        return False

    def result(self, job: Job, into: Kept, is_wanted: Callable[[], bool], *, after: int = 0) -> Kept:
        """What the log of a job that has ended folds into: ``into``, or one of its type that was kept, which is not to
        be changed. Raises as ``fold``."""
        key = (type(into), job.id, job.last_entry, job.ended_at)
        while True:
            entry = self._kept.get(key)
            if entry is None:
                return self._make(key, job, into, is_wanted, after)
            self._wait(entry.making, is_wanted)
            found: Kept | None = entry.making.value
            if found is not None:
                # The most recently used stand last.
                if self._kept.get(key) is entry:
                    self._kept[key] = self._kept.pop(key)
                return found

    def _wait(self, making: AsyncResult[Any], is_wanted: Callable[[], bool]) -> None:
        while not making.ready():
            check_wanted(is_wanted)
            making.wait(_LOOK_S)
        # Those that waited for it go on one after the other: each has an answer to encode.
        while not self.enter(_LOOK_S):
            check_wanted(is_wanted)
        self.leave()

    def _make(self, key: tuple[object, ...], job: Job, into: Kept, is_wanted: Callable[[], bool], after: int) -> Kept:
        entry = self._kept[key] = _Entry()
        try:
            self.fold(job, into, is_wanted, after=after)
        except BaseException:
            # One of those that wait for it begins again, for itself.
            del self._kept[key]
            entry.making.set(None)
            raise
        entry.size = into.size
        entry.making.set(into)
        if entry.size > KEPT_ONE_BYTES:
            del self._kept[key]
        else:
            self._kept_bytes += entry.size
            self._make_room()
        return into

    def _make_room(self) -> None:
        for key, entry in list(self._kept.items()):
            if self._kept_bytes <= KEPT_BYTES:
                return
            if entry.making.ready():
                del self._kept[key]
                self._kept_bytes -= entry.size

    @contextmanager
    def _counted(self) -> Iterator[None]:
        if self._under_way >= FOLDS_AT_MOST:
            raise TooManyFolds("as many logs are being read as a whole as this server reads at a time", 2.0)
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1


def check_wanted(is_wanted: Callable[[], bool]) -> None:
    """Raise the ``Problem`` that ends a request whose client has left."""
    if not is_wanted():
        raise Problem(CLIENT_LEFT, "Client left", "the client closed its connection")
