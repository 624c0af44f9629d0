"""Deadlines: a point on the monotonic clock at which waiting stops."""

from __future__ import annotations

import math
import time
from collections.abc import Callable


class Deadline:
    """The latest time to wait for. Monotonic, so that a change of the system clock does not move it."""

    __slots__ = ("_at", "_clock")

    def __init__(self, at: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._at = at
        self._clock = clock

    @classmethod
    def after(cls, seconds: float, clock: Callable[[], float] = time.monotonic) -> Deadline:
        """The deadline ``seconds`` from now."""
        return cls(clock() + seconds, clock)

    @classmethod
    def never(cls) -> Deadline:
        """A deadline that never passes."""
        return cls(math.inf)

    def later(self, seconds: float) -> Deadline:
        """The deadline ``seconds`` after this one."""
        return Deadline(self._at + seconds, self._clock)

    @property
    def left_s(self) -> float:
        """Seconds left, at least 0; ``inf`` if it never passes."""
        return max(0.0, self._at - self._clock())

    @property
    def passed(self) -> bool:
        """Whether it has passed."""
        return self._clock() >= self._at

    def capped_s(self, limit_s: float) -> float:
        """Seconds left, at most ``limit_s``: the longest single wait."""
        return min(limit_s, self.left_s)
