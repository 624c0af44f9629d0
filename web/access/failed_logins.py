"""The limit of failed logins of an address, in one process."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

FAILURES_AT_MOST = 30
WINDOW_S = 60.0
_ADDRESSES_AT_MOST = 10_000


class FailedLogins:
    """Counts wrong credentials by address: after 30 within a minute, no more are tried until it is over. ``clock`` is
    monotonic. An empty address is not counted."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._counts: OrderedDict[str, tuple[float, int]] = OrderedDict()
        """Address → begin of its minute, and failures in it; the oldest minute first."""

    def note(self, address: str) -> None:
        """Count a failure."""
        if not address:
            return
        now = self._clock()
        began, count = self._counts.get(address, (now, 0))
        if now >= began + WINDOW_S:
            began, count = now, 0
            self._counts.pop(address, None)
        self._counts[address] = began, count + 1
        while len(self._counts) > _ADDRESSES_AT_MOST:
            self._counts.popitem(last=False)

    def blocked_s(self, address: str) -> float:
        """The seconds for which this address is blocked; 0: it is not."""
        began, count = self._counts.get(address, (0.0, 0))
        return max(0.0, began + WINDOW_S - self._clock()) if count >= FAILURES_AT_MOST else 0.0
