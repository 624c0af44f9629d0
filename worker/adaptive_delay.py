"""Adaptive batching: no delay at low rates, up to 2 ms between batches at high rates.

Network cards moderate their interrupts in the same way. Each commit and each timer callback has a fixed cost, and
under load these costs cause the latency. So the gap between two batches grows with the rate, from 0 to 2 ms.
"""

from __future__ import annotations

_WINDOW_S = 0.05
_FREE_PER_S = 6000
_PER_S_A_MS = 14_000
_MOST_S = 0.002


class AdaptiveDelay:
    """Measures the rate of events and computes the gap between two batches."""

    __slots__ = ("_count", "_since", "gap_s")

    def __init__(self) -> None:
        self.gap_s = 0.0
        """Least time from the beginning of one batch to the beginning of the next."""
        self._count = 0
        self._since = float("-inf")

    def add(self, count: int, now: float) -> None:
        """Count ``count`` events at ``now`` (monotonic)."""
        self._count += count
        window_s = now - self._since
        if window_s >= _WINDOW_S:
            beyond = self._count / window_s - _FREE_PER_S
            self.gap_s = min(max(0.0, beyond / _PER_S_A_MS / 1000), _MOST_S)
            self._count, self._since = 0, now
