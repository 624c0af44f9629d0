"""Coalescing: joins several pieces of an attempt's text into one log entry, if the job requests it.

A ``CoalescedLog`` buffers between the job and its ``AttemptLog``; other jobs write to their log directly. No reader
has seen the buffered text: if the worker dies, the next attempt generates it again.
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
"""Delay before the next check of a log that Redis does not have completely yet."""
_SENTENCE_END = re.compile(r"""[.!?…]["'”’»)\]]*(?:\s|$)|[。！？\n]""")


class Output(Protocol):
    """The destination of a job's entries; see ``AttemptLog``."""

    def append(self, kind: Kind, fields: Mapping[str, Any]) -> None: ...
    def append_text(self, kind: Kind, text: str, adds: bytes) -> None: ...
    def end(self, status: Status, kind: Kind, fields: Mapping[str, Any], usage: Mapping[str, Any] | None) -> None: ...
    def flush(self, deadline: Deadline) -> bool: ...


class CoalescedLog:
    """An attempt's log that buffers text. The order of entries is kept: other kinds are written after earlier text."""

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
        """Buffer a piece of text, or write it together with the buffer. Blocks and raises as the log does."""
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
            # One queue item for all buffered text: ``come_due`` returns the next time.
            self._queued = True
            self._queue.add(self._due, self)

    def append(self, kind: Kind, fields: Mapping[str, Any]) -> None:
        """Write an entry of another kind. Blocks and raises as the log does."""
        self._write()
        self._log.append(kind, fields)

    def end(self, status: Status, kind: Kind, fields: Mapping[str, Any], usage: Mapping[str, Any] | None) -> None:
        """Write the terminal entry. Blocks and raises as the log does."""
        self._write()
        self._log.end(status, kind, fields, usage)

    def flush(self, deadline: Deadline) -> bool:
        """Write the buffer and wait until Redis has everything; False if the deadline passed first. Raises
        ``AttemptOver``."""
        if self._texts:
            # Make room first: a write into a full log buffer could block beyond the deadline.
            if not self._log.flush(deadline):
                self._take()
                return False
            self._write()
        return self._log.flush(deadline)

    def come_due(self, now: float) -> float | None:
        """Write the buffer if it is due at the monotonic time ``now``. Returns the next time to call, or None if the
        buffer is empty. Never blocks: while Redis is behind, the text stays buffered and grows."""
        if self._texts and self._due > now:
            return self._due
        if self._texts and self._log.behind:
            return now + _AGAIN_S
        self._queued = False
        # If the attempt is over, its greenlet was notified, and the buffered text is obsolete.
        with suppress(AttemptOver):
            self._write()
        return None

    def _write(self) -> None:
        if self._texts:
            # Empty the buffer before the write: an exception raised in while the log blocks must not write it twice.
            self._log.append_text(self._kind, *self._take())

    def _take(self) -> tuple[str, bytes]:
        taken = "".join(self._texts), b"".join(self._adds)
        self._texts.clear()
        self._adds.clear()
        self._size = 0
        return taken


class DueQueue:
    """Schedules the writes of buffered text for all jobs of a process: one heap, and one greenlet in ``run``."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._heap: list[tuple[float, int, ref[CoalescedLog]]] = []
        """Due time, sequence number, log. Weak references: the queue does not keep a finished attempt alive."""
        self._numbers = count()
        self._sooner = Event()

    def output(self, log: AttemptLog) -> Output:
        """The destination of this attempt's entries: its log, or a ``CoalescedLog`` if the job requests coalescing."""
        how = log.claim.job.coalesce
        return CoalescedLog(log, how, self) if how and how.ms else log

    def add(self, due: float, held: CoalescedLog) -> None:
        """Schedule ``held`` for the monotonic time ``due``."""
        heappush(self._heap, (due, next(self._numbers), ref(held)))
        if self._heap[0][0] == due:
            self._sooner.set()

    def run(self) -> None:
        """Call logs as they become due, for ever."""
        while True:
            self._sooner.clear()
            self._sooner.wait(self.left_s())
            self.give_turns()

    def left_s(self) -> float | None:
        """Seconds until the next log is due; None if none is scheduled."""
        return max(0.0, self._heap[0][0] - self.clock()) if self._heap else None

    def give_turns(self) -> None:
        """Call every log that is due."""
        now = self.clock()
        while self._heap and self._heap[0][0] <= now:
            held = heappop(self._heap)[2]()
            again = held.come_due(now) if held is not None else None
            if held is not None and again is not None:
                heappush(self._heap, (again, next(self._numbers), ref(held)))
