"""Time limits of an attempt: to its first piece, between two pieces, in total.

One ticker checks all jobs of a process, so that a token costs no timer. An upstream that sends comments without a piece
gets more time, up to a separate limit. After the whole answer, the wait for its usage is short.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from spool.models.model import Model

USAGE_S = 5.0
"""Longest wait from the end of an answer to its usage."""


class LimitPassed(BaseException):
    """Raised in a job's greenlet. ``code`` becomes the job's error code. A BaseException, as ``AttemptOver`` is."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class AttemptTimeouts:
    """One attempt's limits. Call ``touch`` at each piece; ``passed`` checks the limits. ``clock`` is monotonic,
    ``wall`` is epoch time."""

    __slots__ = (
        "_alive_s",
        "_between_s",
        "_clock",
        "_ends_at",
        "_first",
        "_first_s",
        "_limit_at",
        "_since",
        "_wall",
    )

    def __init__(
        self,
        model: Model,
        left_s: float,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._clock, self._wall = clock, wall
        now = clock()
        self._first_s = model.first_token_s
        self._between_s = model.between_tokens_s
        self._alive_s = model.alive_s
        self._since = now
        self._ends_at = now + left_s
        self._first = True
        self._limit_at = now + self._first_s

    def touch(self) -> None:
        """Record a piece."""
        self._first = False
        self._since = now = self._clock()
        self._limit_at = now + self._between_s

    def alive(self) -> None:
        """Record that the upstream is at work without a piece."""
        at = self._clock() + (self._first_s if self._first else self._between_s)
        self._limit_at = max(self._limit_at, min(at, self._since + self._alive_s))

    def whole(self) -> None:
        """Record that the upstream is asked for an answer in one piece, which may take as long as one with signs of
        life."""
        self._first_s = self._alive_s
        self._limit_at = max(self._limit_at, self._clock() + self._alive_s)
        self._since = self._clock()

    def complete(self) -> None:
        """Record that the answer is complete except for its usage."""
        self._first = False
        self._alive_s = USAGE_S
        self._since = now = self._clock()
        self._limit_at = now + USAGE_S

    def wait_until(self, epoch_s: float) -> None:
        """Exclude the wait until ``epoch_s``, which the upstream asked for, from the limits."""
        ahead_s = max(0.0, epoch_s - self._wall())
        self._since = self._clock() + ahead_s
        self._limit_at = self._since + (self._first_s if self._first else self._between_s)

    def passed(self, now: float) -> LimitPassed | None:
        """The limit that has passed at the monotonic time ``now``, or None."""
        if now >= self._ends_at:
            return LimitPassed("deadline_exceeded", "the job did not end before its deadline")
        if now < self._limit_at:
            return None
        silent_s = self._limit_at - self._since
        if self._first:
            return LimitPassed("first_token_timeout", f"the model sent no first token within {silent_s:.4g} s")
        return LimitPassed("token_timeout", f"the model sent no token for {silent_s:.4g} s")
