"""The bytes that wait in one process for clients to take them, whatever the route.

An answer that a client does not take is kept in memory until it does, or until the stall limit. So all of them
together are bounded: beyond the limit the connection whose client took nothing for the longest is reset. A client that
takes what it asked for is hardly ever that one, however many others take nothing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

log = logging.getLogger("spool.web")

PIECE_BYTES = 64 * 1024
"""So much must be taken within the stall limit, and counts as progress."""
_LOG_AGAIN_S = 60.0


class Waiting:
    """What waits on one connection. ``reset`` ends the connection; its sender sees that."""

    __slots__ = ("count", "reset")

    def __init__(self, count: int, reset: Callable[[], None]) -> None:
        self.count = count
        self.reset = reset


class Unsent:
    """At most ``limit`` bytes at a time, or one answer that is larger."""

    def __init__(self, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit = limit
        self.total = 0
        self._clock = clock
        self._waiting: dict[Waiting, None] = {}
        """The one without progress for the longest first."""
        self._logged_at = float("-inf")

    def begin(self, count: int, reset: Callable[[], None]) -> Waiting:
        """So many bytes wait from now on. Resets others beyond the limit."""
        waiting = Waiting(count, reset)
        self._waiting[waiting] = None
        self.total += count
        while self.total > self.limit and len(self._waiting) > 1:
            self._reset(next(iter(self._waiting)))
        return waiting

    def proceed(self, waiting: Waiting) -> None:
        """The client took a piece. The memory is free only with the last one."""
        if waiting in self._waiting:
            del self._waiting[waiting]
            self._waiting[waiting] = None

    def end(self, waiting: Waiting) -> None:
        """They wait no more, however that came."""
        if waiting in self._waiting:
            del self._waiting[waiting]
            self.total -= waiting.count

    def _reset(self, waiting: Waiting) -> None:
        self.end(waiting)
        waiting.reset()
        if self._clock() - self._logged_at >= _LOG_AGAIN_S:
            self._logged_at = self._clock()
            log.warning("%d bytes wait for clients to take them; those that take nothing are reset", self.limit)
