"""Time as one object: a point on the monotonic clock after which waiting stops."""

from __future__ import annotations

import math
import time
from collections.abc import Callable


class Deadline:
    """A point in time to wait for at most. Monotonic, so that a clock that is set does not move it."""

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
        """A deadline that does not come."""
        return cls(math.inf)

    @property
    def left_s(self) -> float:
        """Seconds left, never below 0; ``inf`` if it never comes."""
        return max(0.0, self._at - self._clock())

    @property
    def passed(self) -> bool:
        """Whether it has come."""
        return self._clock() >= self._at

    def capped_s(self, limit_s: float) -> float:
        """Seconds left, but ``limit_s`` at the most: how long one wait may take."""
        return min(limit_s, self.left_s)
