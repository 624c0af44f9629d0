"""The limit of failed logins of an address, over all processes."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from spool.access.failure_counts import WINDOW_S, FailureCounts
from spool.errors import StoreUnavailable

FAILURES_AT_MOST = 30
_ADDRESSES_AT_MOST = 10_000


class FailedLogins:
    """Counts wrong credentials by address: after 30 within a minute, no more are tried until it is over. The processes
    count together in Redis. A process notices that others have blocked an address at the address's next failure there,
    so each further process allows one more. While Redis is away, or counts as many addresses as it may, a process goes
    by its own count. ``clock`` is monotonic. An empty address is not counted."""

    def __init__(self, counts: FailureCounts, clock: Callable[[], float] = time.monotonic) -> None:
        self._shared = counts
        self._clock = clock
        self._unshared_until = 0.0
        self._counts: OrderedDict[str, tuple[float, int]] = OrderedDict()
        """Address → end of its minute, and failures in it; the oldest first."""

    def note(self, address: str) -> None:
        """Count a failure."""
        if not address:
            return
        now = self._clock()
        until, count = self._counts.pop(address, (0.0, 0))
        if now >= until:
            until, count = now + WINDOW_S, 0
        # Before the call to Redis, during which others may fail.
        self._counts[address] = until, count + 1
        while len(self._counts) > _ADDRESSES_AT_MOST:
            self._counts.popitem(last=False)
        if now >= self._unshared_until:
            self._share(address)

    def blocked_s(self, address: str) -> float:
        """The seconds for which this address is blocked; 0: it is not."""
        until, count = self._counts.get(address, (0.0, 0))
        return max(0.0, until - self._clock()) if count >= FAILURES_AT_MOST else 0.0

    def _share(self, address: str) -> None:
        try:
            failures, left_s = self._shared.note(address)
        except StoreUnavailable:
            return
        until = self._clock() + left_s
        if not failures:
            self._unshared_until = until
        elif failures >= FAILURES_AT_MOST:
            self._counts[address] = until, failures
