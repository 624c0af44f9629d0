"""How much company to wait for: what comes seldom goes at once, what comes in thousands a second goes in groups.

Network cards do the same with their interrupts: each commit, and each ring of a timer, costs something whatever it is
for, and under load these costs are what makes everything late. So the gap between two of them grows with their rate,
from nothing to two milliseconds.
"""

from __future__ import annotations

_WINDOW_S = 0.05
_FREE_PER_S = 6000
_PER_S_A_MS = 14_000
_MOST_S = 0.002


class AdaptiveDelay:
    """Counts what comes, and says how far apart two groups of it should be."""

    __slots__ = ("_count", "_since", "gap_s")

    def __init__(self) -> None:
        self.gap_s = 0.0
        """From the beginning of one group to that of the next, at least."""
        self._count = 0
        self._since = float("-inf")

    def add(self, count: int, now: float) -> None:
        """So many came, at ``now`` (monotonic)."""
        self._count += count
        window_s = now - self._since
        if window_s >= _WINDOW_S:
            beyond = self._count / window_s - _FREE_PER_S
            self.gap_s = min(max(0.0, beyond / _PER_S_A_MS / 1000), _MOST_S)
            self._count, self._since = 0, now
