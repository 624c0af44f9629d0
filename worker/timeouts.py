"""Limits on a job's time: to its first piece, between two pieces, in total. One ticker checks all of a process's jobs,
so that a token costs no timer.

An upstream that says without a piece that it is at work (a comment in its stream) is given more time, up to a limit of
its own. One that has said all of its answer is waited for only for a moment.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from spool.models.model import Model

USAGE_S = 5.0
"""From the end of an answer until what was counted has to be there."""


class LimitPassed(BaseException):
    """Thrown into a job's greenlet. ``code`` is what the job's error says. A BaseException, as ``AttemptOver``."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class AttemptTimeouts:
    """One attempt's limits. ``touch`` at each piece; ``passed`` asks whether one is over. ``clock`` is monotonic,
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
        """A piece came."""
        self._first = False
        self._since = now = self._clock()
        self._limit_at = now + self._between_s

    def alive(self) -> None:
        """The upstream is at work, and has no piece yet."""
        at = self._clock() + (self._first_s if self._first else self._between_s)
        self._limit_at = max(self._limit_at, min(at, self._since + self._alive_s))

    def complete(self) -> None:
        """All of the answer has come, but for what was counted."""
        self._first = False
        self._alive_s = USAGE_S
        self._since = now = self._clock()
        self._limit_at = now + USAGE_S

    def wait_until(self, epoch_s: float) -> None:
        """The upstream asked to come back then: the wait does not count."""
        ahead_s = max(0.0, epoch_s - self._wall())
        self._since = self._clock() + ahead_s
        self._limit_at = self._since + (self._first_s if self._first else self._between_s)

    def passed(self, now: float) -> LimitPassed | None:
        """The limit that is over at the monotonic time ``now``."""
        if now >= self._ends_at:
            return LimitPassed("deadline_exceeded", "the job did not end before its deadline")
        if now < self._limit_at:
            return None
        silent_s = self._limit_at - self._since
        if self._first:
            return LimitPassed("first_token_timeout", f"nothing came from the model for {silent_s:.4g} s")
        return LimitPassed("token_timeout", f"the model went silent for {silent_s:.4g} s")
