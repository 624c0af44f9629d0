"""Pauses between reconnects: short after a good connection, longer after each failure, different for each client."""

from __future__ import annotations

import random
from collections.abc import Callable

from spool_client.timing import Timing

_AN_OUTAGE = 25
"""Failures in a row: about a minute."""


class Backoff:
    """The pauses of one reader."""

    def __init__(self, timing: Timing, source: Callable[[], float] = random.random) -> None:
        self._timing = timing
        self._source = source
        self._failures = 0

    def reset(self) -> None:
        """A connection has delivered an entry."""
        self._failures = 0

    def next_s(self, at_least_s: float = 0.0) -> float:
        """The next pause. ``at_least_s``: the server's Retry-After; the pause is never shorter. Jitter spreads the
        readers of one lost server, also those with the same Retry-After."""
        timing = self._timing
        most_s = timing.outage_most_s if self._failures > _AN_OUTAGE else timing.retry_most_s
        pause_s = min(most_s, timing.retry_s * 2.0 ** min(self._failures, 16))
        self._failures += 1
        return max(pause_s * (0.5 + self._source() / 2), at_least_s * (1 + self._source() / 4))
