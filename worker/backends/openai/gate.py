"""Whether an upstream's model can be called now, for all jobs of a process: a gate per upstream and model.

An open gate lets every call through. It closes in two cases:

- The upstream **refuses**: it cannot be reached, answers 429, or names a time to come back. That is the model's.
- Calls of ``SUSPECTS`` different jobs **fail** in a row. One job's failure (a 500, a malformed answer, an answer that
  breaks off) may be its own prompt's: that job backs off by itself, and the gate stays open. A whole answer to any job
  clears the others; the beginning of one clears those that failed before their first piece.

A closed gate opens at a point in time, first for one call. Each call that is taken lets one more be unanswered at a
time, until it is wide open again. The next call is that of the job which failed least, and of the owner whose last
probe is longest ago; of several the oldest or the newest in turn. So neither one job, nor one owner's jobs, nor those
that came first are all that is tried.

Weakness: each process has its own gate, so N processes send N probes.
"""

from __future__ import annotations

import math
import random
import threading
import time
from dataclasses import dataclass
from itertools import count
from typing import Self

from spool.deadline import Deadline

SUSPECTS = 3
"""Different jobs whose calls fail in a row before that is the model's."""
_WIDE_OPEN_FROM = 32
_NUMBERS = count(1)


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to stay away, in seconds. A call without an answer for ``patience_s`` holds up no other."""

    first_s: float = 1.0
    most_s: float = 60.0
    suspected_part: float = 0.125
    suspected_most_s: float = 5.0
    """While calls fail of which each may be its prompt's, pauses are that part of others, up to ``suspected_most_s``: a
    job that would succeed is among those that wait."""
    retry_after_most_s: float = 300.0
    patience_s: float = 5.0

    def delay_s(self, refusals: int, retry_after_s: float | None = None) -> float:
        """The wait after that many refusals in a row; ``retry_after_s`` is what the upstream asked for."""
        if retry_after_s is not None:
            asked_s = min(retry_after_s, self.retry_after_most_s)
            return max(self.first_s, asked_s) * random.uniform(1.0, 1.1)
        return min(self.most_s, self.first_s * 2.0 ** min(refusals - 1, 30)) * random.uniform(0.5, 1.0)


class Caller:
    """One job at the gate, over all its calls."""

    __slots__ = ("answered_then", "failures", "job", "number", "owner")

    def __init__(self, job: str = "", owner: str = "") -> None:
        self.job = job
        self.owner = owner
        self.failures = 0
        self.answered_then = 0
        """Answers that others had when its last call was refused."""
        self.number = next(_NUMBERS)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the gate is closed, and until when on the monotonic clock. ``suspected``: by calls that failed."""

    reason: str
    until: float
    suspected: bool = False

    @property
    def left_s(self) -> float:
        """Seconds until the next try; 0 when others are trying already."""
        return max(0.0, self.until - time.monotonic())


class UpstreamGate:
    """Lets calls through, a few or all. ``answered`` counts those that got a whole answer, ``waiting`` the jobs that
    wait here."""

    def __init__(self, backoff: Backoff) -> None:
        self.backoff = backoff
        self._changed = threading.Condition(threading.Lock())
        self._refusal = Refusal("", 0.0)
        self._in_a_row = 0
        self._window: float = math.inf
        self._unanswered: dict[Passage, float] = {}
        self._waiting: set[Caller] = set()
        self._next: Caller | None = None
        """The first of those that wait; None where that is to be found out again."""
        self._probed: dict[str, int] = {}
        """Owner → number of its last probe."""
        self._suspects: dict[str, bool] = {}
        """Jobs whose calls failed since the last success; whether after the first piece."""
        self.epoch = 0
        self.answered = 0

    @property
    def waiting(self) -> int:
        """Jobs that wait here for their turn."""
        return len(self._waiting)

    @property
    def is_open(self) -> bool:
        """Whether every call is let through."""
        return self._window == math.inf

    def enter(self, told: Refusal | None, deadline: Deadline, caller: Caller | None = None) -> Passage | Refusal:
        """Wait to be let through; a refusal other than ``told``, and the deadline, end the wait."""
        caller = caller or Caller()
        with self._changed:
            self._waiting.add(caller)
            self._next = None
            try:
                while True:
                    now = time.monotonic()
                    if self._admits(caller, now):
                        return self._let_through(caller, now)
                    if self._refusal is not told or deadline.passed:
                        return self._refusal
                    self._changed.wait(deadline.capped_s(self._next_chance_s(now)))
            finally:
                self._waiting.discard(caller)
                self._next = None
                if self._waiting and not self.is_open:
                    self._changed.notify_all()

    def _admits(self, caller: Caller, now: float) -> bool:
        if self._window == math.inf:
            return True
        if now < self._refusal.until or len(self._pending(now)) >= self._window:
            return False
        if self._next is None:
            self._next = min(self._waiting, key=self._rank)
            if self._next is not caller:
                self._changed.notify_all()
        return self._next is caller

    def _rank(self, caller: Caller) -> tuple[int, int, int]:
        # From both ends in turn: a job that would succeed may be behind a crowd that does not, or before it.
        number = caller.number if self.epoch % 2 else -caller.number
        return caller.failures, self._probed.get(caller.owner, 0), number

    def _let_through(self, caller: Caller, now: float) -> Passage:
        passage = Passage(self, self.epoch, caller)
        if self._window != math.inf:
            self._unanswered[passage] = now
            self._probed[caller.owner] = next(_NUMBERS)
        return passage

    def _pending(self, now: float) -> list[float]:
        return [at for at in self._unanswered.values() if now - at < self.backoff.patience_s]

    def _next_chance_s(self, now: float) -> float:
        if now < self._refusal.until:
            return self._refusal.until - now
        return max(0.01, min(self._pending(now), default=now) + self.backoff.patience_s - now)

    def on_taken(self, passage: Passage) -> None:
        """The answer has begun."""
        with self._changed:
            for job in [job for job, is_late in self._suspects.items() if not is_late]:
                del self._suspects[job]
            self._widen(passage)
            self._forget(passage)

    def on_answered(self, passage: Passage) -> None:
        """The answer is whole: the model works, whatever other jobs' calls did."""
        with self._changed:
            self.answered += 1
            self._suspects.clear()
            if self._refusal.suspected and not self.is_open:
                self._in_a_row = 0
                self._refusal = Refusal(self._refusal.reason, time.monotonic())
            self._widen(passage)
            self._forget(passage)

    def on_rejected(self, passage: Passage) -> None:
        """The upstream answered, and not with an answer: it does not refuse, and says nothing of whether it works."""
        with self._changed:
            self._widen(passage)
            self._forget(passage)

    def _widen(self, passage: Passage) -> None:
        if passage.epoch != self.epoch or passage.widened or self._suspects:
            return
        passage.widened = True
        self._in_a_row = 0
        self._window = self._window + 1 if self._window < _WIDE_OPEN_FROM else math.inf
        if self.is_open:
            self._probed.clear()

    def on_refused(self, passage: Passage, reason: str, retry_after_s: float | None) -> bool:
        """The upstream refused the call; whether that is the model's. It is the job's own where others were answered
        since its last one was refused. Calls that were under way when the gate closed don't add up."""
        with self._changed:
            caller = passage.caller
            is_own = caller.failures > 0 and self.answered > caller.answered_then
            caller.answered_then = self.answered
            if not is_own:
                self._close(passage, reason, retry_after_s)
            self._forget(passage)
            return not is_own

    def on_failed(self, passage: Passage, reason: str, *, is_late: bool) -> None:
        """The call failed, before or after the answer's first piece; it may be its prompt's."""
        with self._changed:
            passage.caller.answered_then = self.answered
            if len(self._suspects) < SUSPECTS or passage.caller.job in self._suspects:
                self._suspects[passage.caller.job] = is_late
            if len(self._suspects) >= SUSPECTS and passage.epoch == self.epoch:
                self._close(passage, reason, None, suspected=True)
            self._forget(passage)

    def on_left(self, passage: Passage) -> None:
        """The call ended without telling anything about the upstream."""
        with self._changed:
            self._forget(passage)

    def _close(self, passage: Passage, reason: str, retry_after_s: float | None, *, suspected: bool = False) -> None:
        if passage.epoch == self.epoch:
            self.epoch += 1
            self._in_a_row += 1
            self._window = 1
            self._unanswered.clear()
        elif retry_after_s is None:
            return
        delay_s = self.backoff.delay_s(self._in_a_row, retry_after_s)
        if suspected:
            delay_s = min(delay_s * self.backoff.suspected_part, self.backoff.suspected_most_s)
        until = time.monotonic() + delay_s
        if until > self._refusal.until:
            self._refusal = Refusal(reason, until, suspected)

    def _forget(self, passage: Passage) -> None:
        self._unanswered.pop(passage, None)
        self._next = None
        self._changed.notify_all()


class Passage:
    """One call that was let through; leaving the context without a verdict makes room for the next."""

    __slots__ = ("_gate", "caller", "epoch", "widened")

    def __init__(self, gate: UpstreamGate, epoch: int, caller: Caller) -> None:
        self._gate = gate
        self.epoch = epoch
        self.caller = caller
        self.widened = False

    def taken(self) -> None:
        """The first piece of the answer has come."""
        self._gate.on_taken(self)

    def answered(self) -> None:
        """The answer is whole."""
        self._gate.on_answered(self)

    def rejected(self) -> None:
        """The upstream rejected the prompt."""
        self._gate.on_rejected(self)

    def refused(self, reason: str, retry_after_s: float | None) -> bool:
        """The upstream refused the call; ``retry_after_s`` is what it asked for. Whether that is the model's."""
        return self._gate.on_refused(self, reason, retry_after_s)

    def failed(self, reason: str, *, is_late: bool) -> None:
        """The call failed in a way that may be its prompt's, after the first piece if ``is_late``."""
        self._gate.on_failed(self, reason, is_late=is_late)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._gate.on_left(self)
