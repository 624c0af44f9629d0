"""What one job learned about "not now" holds for all jobs of its model: a gate per upstream and model.

An open gate lets everybody through. A refusal closes it until a point in time. From then on it lets calls
through again, first one; each call that is taken lets one more be unanswered at a time, until it is wide open
again. So neither do a hundred jobs hammer an upstream that is down, nor do they all go at once when it is back.

Weakness: each process has its own gate, so N processes send N probes.
"""

from __future__ import annotations

import math
import random
import threading
import time
from dataclasses import dataclass
from typing import Self

from spool.deadline import Deadline

_WIDE_OPEN_FROM = 32


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to stay away, in seconds. A call without an answer for ``patience_s`` holds up nobody else."""

    first_s: float = 1.0
    most_s: float = 60.0
    retry_after_most_s: float = 300.0
    patience_s: float = 5.0

    def delay_s(self, refusals: int, retry_after_s: float | None) -> float:
        """The wait after that many refusals in a row; ``retry_after_s`` is what the upstream asked for."""
        if retry_after_s is not None:
            asked_s = min(retry_after_s, self.retry_after_most_s)
            return max(self.first_s, asked_s) * random.uniform(1.0, 1.1)
        return min(self.most_s, self.first_s * 2.0 ** min(refusals - 1, 30)) * random.uniform(0.5, 1.0)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the gate is closed, and until when on the monotonic clock."""

    reason: str
    until: float

    @property
    def left_s(self) -> float:
        """Seconds until the next try; 0 when others are trying already."""
        return max(0.0, self.until - time.monotonic())


class UpstreamGate:
    """Lets calls through, a few or all. ``answered`` counts those that got a whole answer."""

    def __init__(self, backoff: Backoff) -> None:
        self._backoff = backoff
        self._changed = threading.Condition(threading.Lock())
        self._refusal = Refusal("", 0.0)
        self._in_a_row = 0
        self._window: float = math.inf
        self._unanswered: dict[Passage, float] = {}
        self.epoch = 0
        self.answered = 0

    def enter(self, told: Refusal | None, deadline: Deadline) -> Passage | Refusal:
        """Wait to be let through; a refusal other than ``told``, and the deadline, end the wait."""
        with self._changed:
            while True:
                now = time.monotonic()
                if self._admits(now):
                    return self._let_through(now)
                if self._refusal is not told or deadline.passed:
                    return self._refusal
                self._changed.wait(deadline.capped_s(self._next_chance_s(now)))

    def _admits(self, now: float) -> bool:
        if self._window == math.inf:
            return True
        return now >= self._refusal.until and len(self._pending(now)) < self._window

    def _let_through(self, now: float) -> Passage:
        passage = Passage(self, self.epoch)
        if self._window != math.inf:
            self._unanswered[passage] = now
        return passage

    def _pending(self, now: float) -> list[float]:
        return [at for at in self._unanswered.values() if now - at < self._backoff.patience_s]

    def _next_chance_s(self, now: float) -> float:
        if now < self._refusal.until:
            return self._refusal.until - now
        return max(0.01, min(self._pending(now), default=now) + self._backoff.patience_s - now)

    def on_taken(self, passage: Passage) -> None:
        """The upstream took the call."""
        with self._changed:
            if passage.epoch == self.epoch:
                self._in_a_row = 0
                self._window = self._window + 1 if self._window < _WIDE_OPEN_FROM else math.inf
            self._forget(passage)

    def on_refused(self, passage: Passage, reason: str, retry_after_s: float | None) -> None:
        """The upstream refused the call. Calls that were under way when the gate closed don't add up."""
        with self._changed:
            if passage.epoch == self.epoch:
                self.epoch += 1
                self._in_a_row += 1
                self._window = 1
                self._unanswered.clear()
                self._close(reason, retry_after_s)
            elif retry_after_s is not None:
                self._close(reason, retry_after_s)
            self._forget(passage)

    def on_left(self, passage: Passage) -> None:
        """The call ended without telling anything about the upstream."""
        with self._changed:
            self._forget(passage)

    def _close(self, reason: str, retry_after_s: float | None) -> None:
        until = time.monotonic() + self._backoff.delay_s(self._in_a_row, retry_after_s)
        if until > self._refusal.until:
            self._refusal = Refusal(reason, until)

    def _forget(self, passage: Passage) -> None:
        self._unanswered.pop(passage, None)
        self._changed.notify_all()


class Passage:
    """One call that was let through; leaving the context without a verdict makes room for the next."""

    __slots__ = ("_gate", "epoch")

    def __init__(self, gate: UpstreamGate, epoch: int) -> None:
        self._gate = gate
        self.epoch = epoch

    def taken(self) -> None:
        """The upstream took the call: its answer has begun, or at least its headers came."""
        self._gate.on_taken(self)

    def refused(self, reason: str, retry_after_s: float | None) -> None:
        """The upstream refused the call; ``retry_after_s`` is what it asked for."""
        self._gate.on_refused(self, reason, retry_after_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._gate.on_left(self)
