"""Folds: whole logs reduced to another form, such as a conversation or another protocol's events.

A log may have any length, and all folds of a process share its one CPU with the streams. So folds take turns: one page
at a time in a process, first come first served, and everything else runs between two pages. Results of ended jobs
are cached in memory; simultaneous requests for one result share one fold (single-flight).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
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
"""The status logged for a client that disconnected before its response, as nginx does."""
FOLDS_AT_MOST = 64
"""Concurrent folds for plain responses in one process. Each holds its result so far. Streams count as streams."""
KEPT_BYTES = 16 * 1024 * 1024
"""Bytes of cached results in one process."""
KEPT_ONE_BYTES = 4 * 1024 * 1024
"""Larger results are not cached."""
WHOLE_AT_MOST = 8
"""Whole responses built at a time, because each is in memory. Those of running jobs are exempt: as many as run."""
WHOLE_OF_OWNER = 6
"""Those of one owner: so another owner's waits for few of them, however many the first one asks for."""
_SLICE_S = 0.002
_PAUSE_S = 0.001
"""After ``_SLICE_S`` of work all folds of a process pause for ``_PAUSE_S``, so that it can serve its sockets."""
_LOOK_S = 1.0
"""How often a waiting request checks that its client is still connected."""


class Fold(Protocol):
    """The target that a log is folded into."""

    def add_all(self, raws: Sequence[bytes]) -> None:
        """Add the next encoded entries."""
        ...

    def add_run(self, run: Run) -> bool:
        """Add the next entries at once. False: nothing was added, and they must be added one by one."""
        ...


class Result(Fold, Protocol):
    """A fold whose result can be cached."""

    @property
    def size(self) -> int:
        """Its approximate size in bytes."""
        ...


Kept = TypeVar("Kept", bound=Result)


@dataclass(slots=True)
class _Entry:
    making: AsyncResult[Any] = field(default_factory=AsyncResult)
    size: int = 0


class _Places:
    """One owner's places for whole responses, while it has requests for them."""

    __slots__ = ("free", "requests")

    def __init__(self) -> None:
        self.free = BoundedSemaphore(WHOLE_OF_OWNER)
        self.requests = 0


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
        self._places: dict[str, _Places] = {}
        self._entered_at = self._used_s = 0.0
        self._under_way = 0
        self._kept: dict[tuple[object, ...], _Entry] = {}
        self._kept_bytes = 0

    def enter(self, within_s: float) -> bool:
        """Acquire the turn for one page; False after ``within_s`` seconds. After True, call ``leave``."""
        if not self._turns.acquire(timeout=max(0.0, within_s)):
            return False
        self._entered_at = self._clock()
        return True

    @property
    def is_spent(self) -> bool:
        """Whether this turn has used up its time slice."""
        return self._clock() - self._entered_at >= _SLICE_S

    def leave(self) -> None:
        """Pass the turn to the next fold. The rest of the process runs before the caller continues."""
        self._used_s += self._clock() - self._entered_at
        try:
            if self._used_s >= _SLICE_S:
                self._used_s = 0.0
                self._sleep(_PAUSE_S)
        finally:
            self._turns.release()
        self._sleep(0)

    def take_rows(self, reader: Reader, limit: int) -> tuple[list[Row], Gap | None, bool]:
        """``reader.take_rows``, in turn where it reads Redis. Empty if no turn was free within a second."""
        if not reader.is_behind:
            return reader.take_rows(limit)
        if not self.enter(_LOOK_S):
            return [], None, False
        try:
            return reader.take_rows(limit)
        finally:
            self.leave()

    @contextmanager
    def whole(self, owner: str, is_wanted: Callable[[], bool]) -> Iterator[bool]:
        """Hold one of the places for building a whole response. Yields False if its client left while it waited."""
        with ExitStack() as held:
            own = held.enter_context(self._places_of(owner))
            for free in (own.free, self._whole):
                while not free.acquire(timeout=_LOOK_S):
                    if not is_wanted():
                        yield False
                        return
                held.callback(free.release)
            yield True

    @contextmanager
    def _places_of(self, owner: str) -> Iterator[_Places]:
        places = self._places.setdefault(owner, _Places())
        places.requests += 1
        try:
            yield places
        finally:
            places.requests -= 1
            if not places.requests:
                del self._places[owner]

    def fold(self, job: Job, into: Fold, is_wanted: Callable[[], bool], *, after: int = 0) -> None:
        """Fold the job's current log into ``into``. Raises ``TooManyFolds``, ``StoreUnavailable``,
        ``UndecodableRecord``, and a ``Problem`` once ``is_wanted`` returns False."""
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
        """Add whole runs of entries until the turn is spent. False if the next page is not a run."""
        while (run := reader.run_ahead()) is not None and into.add_run(run):
            reader.cursor = run.last
            if self.is_spent:
                return True
        return False

    def result(self, job: Job, into: Kept, is_wanted: Callable[[], bool], *, after: int = 0) -> Kept:
        """The result for an ended job: ``into``, or a cached one of the same type. Do not change it. Raises like
        ``fold``."""
        key = (type(into), job.id, job.last_entry, job.ended_at)
        while True:
            entry = self._kept.get(key)
            if entry is None:
                return self._make(key, job, into, is_wanted, after)
            self._wait(entry.making, is_wanted)
            cached: Kept | None = entry.making.value
            if cached is not None:
                # LRU: the most recently used come last.
                if self._kept.get(key) is entry:
                    self._kept[key] = self._kept.pop(key)
                return cached

    def _wait(self, making: AsyncResult[Any], is_wanted: Callable[[], bool]) -> None:
        while not making.ready():
            check_wanted(is_wanted)
            making.wait(_LOOK_S)
        # The waiters continue one by one, because each has a response to encode.
        while not self.enter(_LOOK_S):
            check_wanted(is_wanted)
        self.leave()

    def _make(self, key: tuple[object, ...], job: Job, into: Kept, is_wanted: Callable[[], bool], after: int) -> Kept:
        entry = self._kept[key] = _Entry()
        try:
            self.fold(job, into, is_wanted, after=after)
        except BaseException:
            # One of the waiters then runs its own fold.
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
            raise TooManyFolds("limit of concurrent whole-log reads reached on this instance", 2.0)
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1


def check_wanted(is_wanted: Callable[[], bool]) -> None:
    """Raise the ``Problem`` that ends a request if its client has disconnected."""
    if not is_wanted():
        raise Problem(CLIENT_LEFT, "Client left", "the client closed its connection")
