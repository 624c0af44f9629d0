"""Coalescing: several pieces of an attempt's text become one entry of its log, where the job asks for it.

A ``CoalescedLog`` stands between the job and its ``AttemptLog``; a job that does not ask for it has none and writes to
its log itself. What it holds back nobody has seen: if the worker dies, the next attempt generates it again.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from heapq import heappop, heappush
from itertools import count
from typing import Any, Protocol
from weakref import ref

from gevent.event import Event

from spool.deadline import Deadline
from spool.jobs.coalescing import Coalescing
from spool.jobs.entries import Kind
from spool.jobs.job import Status
from worker.attempt_log import AttemptLog, AttemptOver

_AGAIN_S = 0.05
"""When to look again at a log of which Redis does not have everything yet."""
_SENTENCE_END = re.compile(r"""[.!?…]["'”’»)\]]*(?:\s|$)|[。！？\n]""")


class Output(Protocol):
    """Where a job writes; see ``AttemptLog``."""

    def append(self, kind: Kind, fields: Mapping[str, Any]) -> None: ...
    def append_text(self, kind: Kind, text: str, adds: bytes) -> None: ...
    def end(self, status: Status, kind: Kind, fields: Mapping[str, Any], usage: Mapping[str, Any] | None) -> None: ...
    def flush(self, deadline: Deadline) -> bool: ...


class CoalescedLog:
    """An attempt's log that holds text back. Whatever else is written comes after the text that came before it."""

    def __init__(self, log: AttemptLog, how: Coalescing, queue: DueQueue) -> None:
        self._log = log
        self._wait_s = how.ms / 1000
        self._chars = how.chars
        self._sentence_end = how.sentence_end
        self._queue = queue
        self._queued = False
        self._due = 0.0
        self._kind = Kind.TOKEN
        self._texts: list[str] = []
        self._adds: list[bytes] = []
        self._size = 0

    def append_text(self, kind: Kind, text: str, adds: bytes) -> None:
        """Hold a piece of text back, or write it with what is held. Waits and raises as the log does."""
        if self._texts and (kind is not self._kind or self._size + len(text) > self._chars):
            self._write()
        if not self._texts:
            self._kind = kind
            self._due = self._queue.clock() + self._wait_s
        self._texts.append(text)
        self._adds.append(adds)
        self._size += len(text)
        if self._size >= self._chars or (self._sentence_end and _SENTENCE_END.search(text)):
            self._write()
        elif not self._queued:
            # Once for all of its text: ``come_due`` says when to look again.
            self._queued = True
            self._queue.add(self._due, self)

    def append(self, kind: Kind, fields: Mapping[str, Any]) -> None:
        """An entry of another kind. Waits and raises as the log does."""
        self._write()
        self._log.append(kind, fields)

    def end(self, status: Status, kind: Kind, fields: Mapping[str, Any], usage: Mapping[str, Any] | None) -> None:
        """The terminal entry. Waits and raises as the log does."""
        self._write()
        self._log.end(status, kind, fields, usage)

    def flush(self, deadline: Deadline) -> bool:
        """Write what is held, and wait until Redis has everything; False if the deadline came first. Raises
        ``AttemptOver``."""
        if self._texts:
            # Room for it first: a write into a full buffer would wait for Redis longer than this may.
            if not self._log.flush(deadline):
                self._take()
                return False
            self._write()
        return self._log.flush(deadline)

    def come_due(self, now: float) -> float | None:
        """The queue's turn: write what is due at the monotonic time ``now``. When it wants another turn; None while it
        holds nothing. Never waits: text that Redis could not take yet is held on, and grows meanwhile."""
        if self._texts and self._due > now:
            return self._due
        if self._texts and self._log.behind:
            return now + _AGAIN_S
        self._queued = False
        # If the attempt is over, whoever runs it has been told, and what was held is no longer wanted.
        with suppress(AttemptOver):
            self._write()
        return None

    def _write(self) -> None:
        if self._texts:
            # Taken before it is written: an exception that is thrown in while the log waits finds it there already.
            self._log.append_text(self._kind, *self._take())

    def _take(self) -> tuple[str, bytes]:
        taken = "".join(self._texts), b"".join(self._adds)
        self._texts.clear()
        self._adds.clear()
        self._size = 0
        return taken


class DueQueue:
    """When held text is due, for all jobs of a process: one heap, and one greenlet in ``run``."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._heap: list[tuple[float, int, ref[CoalescedLog]]] = []
        """When, in which order they came, and whose. Weak: an attempt that is over is not kept until then."""
        self._numbers = count()
        self._sooner = Event()

    def output(self, log: AttemptLog) -> Output:
        """Where this attempt writes: the log itself, unless its job asks for more."""
        how = log.claim.job.coalesce
        return CoalescedLog(log, how, self) if how and how.ms else log

    def add(self, due: float, held: CoalescedLog) -> None:
        """``held`` is to have its turn at the monotonic time ``due``."""
        heappush(self._heap, (due, next(self._numbers), ref(held)))
        if self._heap[0][0] == due:
            self._sooner.set()

    def run(self) -> None:
        """Give turns for ever."""
        while True:
            self._sooner.clear()
            self._sooner.wait(self.left_s())
            self.give_turns()

    def left_s(self) -> float | None:
        """Until the next turn; None if nobody wants one."""
        return max(0.0, self._heap[0][0] - self.clock()) if self._heap else None

    def give_turns(self) -> None:
        """To all that are due."""
        now = self.clock()
        while self._heap and self._heap[0][0] <= now:
            held = heappop(self._heap)[2]()
            again = held.come_due(now) if held is not None else None
            if held is not None and again is not None:
                heappush(self._heap, (again, next(self._numbers), ref(held)))
