"""The circuit breaker of an upstream's model, shared by all jobs of a process: one gate per upstream and model.

An open gate lets every call through. It closes in two cases:

- The upstream **refuses**: it cannot be reached, answers 429, or sends a Retry-After. This applies to all jobs.
- Calls of ``SUSPECTS`` different jobs **fail** in a row. The cause of one job's failure (a 500, a malformed or
  interrupted answer) may be its own prompt: that job backs off alone, and the gate stays open. A complete answer to any
  job clears all suspects; the beginning of an answer clears those that failed before their first piece.

A closed gate reopens at a point in time, first for one call. Each call whose answer begins raises the limit of
unanswered calls by one, until the gate is wide open again. The next call goes to the job with the fewest failures, then
to the owner whose last probe is the longest ago, then to the oldest or the newest job in turn. So the probes are not
limited to one job, to one owner's jobs, or to the oldest jobs.

Each process has its own gate. Refusals are shared by all of them in Redis where a job is asked about (``SharedGate``):
then the refused job goes back to the queue, and this gate closes only for calls that fail, and for calls without a job.
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
"""Number of different jobs whose calls fail in a row before the gate closes."""
_WIDE_OPEN_FROM = 32
_NUMBERS = count(1)


@dataclass(frozen=True, slots=True)
class Backoff:
    """The backoff, in seconds. A call that has no answer after ``patience_s`` no longer blocks others."""

    first_s: float = 1.0
    most_s: float = 60.0
    suspected_part: float = 0.125
    suspected_most_s: float = 5.0
    """Factor for pauses after failures that single prompts may have caused, up to ``suspected_most_s``: jobs that would
    succeed wait too."""
    retry_after_most_s: float = 300.0
    patience_s: float = 5.0

    def delay_s(self, refusals: int, retry_after_s: float | None = None) -> float:
        """The wait after ``refusals`` refusals in a row; ``retry_after_s`` is the upstream's request."""
        if retry_after_s is not None:
            asked_s = min(retry_after_s, self.retry_after_most_s)
            return max(self.first_s, asked_s) * random.uniform(1.0, 1.1)
        return min(self.most_s, self.first_s * 2.0 ** min(refusals - 1, 30)) * random.uniform(0.5, 1.0)


class Caller:
    """One job at the gate, over all its calls."""

    __slots__ = ("answered_then", "failures", "is_admitted", "job", "number", "owner")

    def __init__(self, job: str = "", owner: str = "", *, is_admitted: bool = False) -> None:
        self.job = job
        self.owner = owner
        self.is_admitted = is_admitted
        """Whether the shared gate has let it through, so that it waits here only after failures of its own."""
        self.failures = 0
        self.answered_then = 0
        """The gate's ``answered`` when its last call was refused."""
        self.number = next(_NUMBERS)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the gate is closed, and until when (monotonic). ``suspected``: closed because calls failed."""

    reason: str
    until: float
    suspected: bool = False

    @property
    def left_s(self) -> float:
        """Seconds until the next try; 0 if others are trying already."""
        return max(0.0, self.until - time.monotonic())


class UpstreamGate:
    """Lets a few calls or all calls through. ``answered`` counts complete answers, ``waiting`` the waiting jobs."""

    def __init__(self, backoff: Backoff) -> None:
        self.backoff = backoff
        self._changed = threading.Condition(threading.Lock())
        self._refusal = Refusal("", 0.0)
        self._in_a_row = 0
        self._window: float = math.inf
        self._unanswered: dict[Passage, float] = {}
        self._waiting: set[Caller] = set()
        self._next: Caller | None = None
        """The next waiting job; None if it must be computed again."""
        self._probed: dict[str, int] = {}
        """Owner → number of its last probe."""
        self._suspects: dict[str, bool] = {}
        """Jobs whose calls failed since the last success → whether after the first piece."""
        self.epoch = 0
        self.answered = 0
        self._answered_at: float | None = None

    @property
    def answered_ago_s(self) -> float | None:
        """Seconds since the last complete answer; None before the first."""
        return None if self._answered_at is None else time.monotonic() - self._answered_at

    @property
    def has_suspects(self) -> bool:
        """Whether calls failed since the last complete answer, so that the beginning of another one proves nothing."""
        return bool(self._suspects)

    @property
    def waiting(self) -> int:
        """Number of jobs that wait for their turn."""
        return len(self._waiting)

    @property
    def is_open(self) -> bool:
        """Whether every call is let through."""
        return self._window == math.inf

    def enter(self, known: Refusal | None, deadline: Deadline, caller: Caller | None = None) -> Passage | Refusal:
        """Wait to be let through. A refusal other than ``known``, or the deadline, ends the wait."""
        caller = caller or Caller()
        with self._changed:
            self._waiting.add(caller)
            self._next = None
            try:
                while True:
                    now = time.monotonic()
                    if self._admits(caller, now):
                        return self._let_through(caller, now)
                    if self._refusal is not known or deadline.passed:
                        return self._refusal
                    self._changed.wait(deadline.capped_s(self._next_chance_s(now)))
            finally:
                self._waiting.discard(caller)
                self._next = None
                if self._waiting and not self.is_open:
                    self._changed.notify_all()

    def _admits(self, caller: Caller, now: float) -> bool:
        if self._window == math.inf or (caller.is_admitted and not (self._refusal.suspected and caller.failures)):
            return True
        if now < self._refusal.until or len(self._pending(now)) >= self._window:
            return False
        if self._next is None:
            self._next = min(self._waiting, key=self._rank)
            if self._next is not caller:
                self._changed.notify_all()
        return self._next is caller

    def _rank(self, caller: Caller) -> tuple[int, int, int]:
        # Alternate between oldest and newest: a job that would succeed may wait behind many failing ones, or before.
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
        """Record that the answer has begun."""
        with self._changed:
            for job in [job for job, is_late in self._suspects.items() if not is_late]:
                del self._suspects[job]
            self._widen(passage)
            self._forget(passage)

    def on_answered(self, passage: Passage) -> None:
        """Record a complete answer: the model works, even if other jobs' calls failed."""
        with self._changed:
            self.answered += 1
            self._answered_at = time.monotonic()
            self._suspects.clear()
            if self._refusal.suspected and not self.is_open:
                self._in_a_row = 0
                self._refusal = Refusal(self._refusal.reason, time.monotonic())
            self._widen(passage)
            self._forget(passage)

    def on_rejected(self, passage: Passage) -> None:
        """Record a rejection of the prompt: the upstream does not refuse, but this does not prove that it works."""
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
        """Record a refusal. Returns whether it applies to all jobs; it is the job's own if others were answered since
        its last refusal. Calls in flight when the gate closed do not add up."""
        with self._changed:
            caller = passage.caller
            is_own = caller.failures > 0 and self.answered > caller.answered_then
            caller.answered_then = self.answered
            if not is_own:
                self._close(passage, reason, retry_after_s)
            self._forget(passage)
            return not is_own

    def on_failed(self, passage: Passage, reason: str, *, is_late: bool) -> bool:
        """Record a failure, before or after the answer's first piece; the prompt may be the cause. Returns whether the
        gate has closed."""
        with self._changed:
            closes = False
            passage.caller.answered_then = self.answered
            if len(self._suspects) < SUSPECTS or passage.caller.job in self._suspects:
                self._suspects[passage.caller.job] = is_late
            if len(self._suspects) >= SUSPECTS and passage.epoch == self.epoch:
                self._close(passage, reason, None, suspected=True)
                closes = True
            self._forget(passage)
            return closes

    def on_left(self, passage: Passage) -> None:
        """Record that the call ended without a verdict on the upstream."""
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
    """One admitted call; leaving the context without a verdict makes room for the next."""

    __slots__ = ("_gate", "caller", "epoch", "widened")

    def __init__(self, gate: UpstreamGate, epoch: int, caller: Caller) -> None:
        self._gate = gate
        self.epoch = epoch
        self.caller = caller
        self.widened = False

    def taken(self) -> None:
        """Report the first piece of the answer."""
        self._gate.on_taken(self)

    def answered(self) -> None:
        """Report a complete answer."""
        self._gate.on_answered(self)

    def rejected(self) -> None:
        """Report that the upstream rejected the prompt."""
        self._gate.on_rejected(self)

    def refused(self, reason: str, retry_after_s: float | None) -> bool:
        """Report a refusal, with the upstream's ``retry_after_s``. Returns whether it applies to all jobs."""
        return self._gate.on_refused(self, reason, retry_after_s)

    def failed(self, reason: str, *, is_late: bool) -> bool:
        """Report a failure that the prompt may have caused, after the first piece if ``is_late``. Returns whether the
        gate has closed."""
        return self._gate.on_failed(self, reason, is_late=is_late)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._gate.on_left(self)
