"""The circuit breaker of an upstream's model, shared by all jobs of a process: one gate per upstream and model.

An open gate lets every call through. It closes in two cases:

- The upstream **refuses**: it cannot be reached, answers 429, or sends a Retry-After. This applies to all jobs.
- Calls of ``SUSPECTS`` different jobs **fail** in a row. The cause of one job's failure (a 500, a malformed or
  interrupted answer) may be its own prompt: that job backs off alone, and the gate stays open. A complete answer to any
  job clears all suspects; the beginning of an answer clears those that failed before their first piece.

A closed gate reopens at a point in time, first for one call. Each call whose answer begins raises the limit of
unanswered calls by one, until the gate is wide open again. ``WaitingJobs`` chooses the job that calls next.

Each process has its own gate. Refusals are shared by all of them in Redis where a job is asked about (``SharedGate``):
then the refused job goes back to the queue, and this gate closes only for calls that fail, and for calls without a job.
"""

from __future__ import annotations

import math
import threading
import time
from typing import Self

from spool.deadline import Deadline
from worker.backends.openai.backoff import Backoff, Refusal
from worker.backends.openai.waiting_jobs import Caller, WaitingJobs

SUSPECTS = 3
"""Number of different jobs whose calls fail in a row before the gate closes."""
_WIDE_OPEN_FROM = 32


class UpstreamGate:
    """Lets a few calls or all calls through. ``answered`` counts complete answers, ``waiting`` the waiting jobs."""

    def __init__(self, backoff: Backoff) -> None:
        self.backoff = backoff
        self._changed = threading.Condition(threading.Lock())
        self._refusal = Refusal("", 0.0)
        self._in_a_row = 0
        self._window: float = math.inf
        self._unanswered: dict[Passage, float] = {}
        self._waiting = WaitingJobs()
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
            self._waiting.join(caller)
            try:
                while True:
                    now = time.monotonic()
                    if self._admits(caller, now):
                        return self._let_through(caller, now)
                    if self._refusal is not known or deadline.passed:
                        return self._refusal
                    self._changed.wait(deadline.capped_s(self._next_chance_s(now)))
            finally:
                self._waiting.leave(caller)
                if self._waiting and not self.is_open:
                    self._changed.notify_all()

    def _admits(self, caller: Caller, now: float) -> bool:
        if self._window == math.inf or (caller.is_admitted and not (self._refusal.suspected and caller.failures)):
            return True
        if now < self._refusal.until or len(self._pending(now)) >= self._window:
            return False
        was_chosen = self._waiting.is_chosen
        is_next = self._waiting.next(self.epoch) is caller
        if not was_chosen and not is_next:
            self._changed.notify_all()
        return is_next

    def _let_through(self, caller: Caller, now: float) -> Passage:
        passage = Passage(self, self.epoch, caller)
        if self._window != math.inf:
            self._unanswered[passage] = now
            self._waiting.record_probe(caller)
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
            self._waiting.forget_probes()

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
        self._waiting.reorder()
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
