"""Limits on a job's time: to its first piece, between two pieces, in total. One ticker checks all of a process's jobs,
so that a token costs no timer."""

from __future__ import annotations

import time
from collections.abc import Callable

from spool.models import Model


class LimitPassed(BaseException):
    """Thrown into a job's greenlet. ``code`` is what the job's error says. A BaseException, as ``AttemptOver``."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Stopwatch:
    """One attempt's limits. ``touch`` at each piece; ``passed`` asks whether one is over. ``clock`` is monotonic,
    ``wall`` is epoch time."""

    __slots__ = ("_between_s", "_clock", "_ends_at", "_first", "_first_s", "_limit_at", "_wall")

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
        self._ends_at = now + left_s
        self._first = True
        self._limit_at = now + self._first_s

    def touch(self) -> None:
        """A piece came."""
        self._first = False
        self._limit_at = self._clock() + self._between_s

    def wait_until(self, epoch_s: float) -> None:
        """The upstream asked to come back then: the wait does not count."""
        ahead_s = max(0.0, epoch_s - self._wall())
        self._limit_at = self._clock() + ahead_s + (self._first_s if self._first else self._between_s)

    def passed(self, now: float) -> LimitPassed | None:
        """The limit that is over at the monotonic time ``now``."""
        if now >= self._ends_at:
            return LimitPassed("deadline_exceeded", "the job did not end before its deadline")
        if now < self._limit_at:
            return None
        if self._first:
            return LimitPassed("first_token_timeout", f"nothing came from the model for {self._first_s:g} s")
        return LimitPassed("token_timeout", f"the model went silent for {self._between_s:g} s")
