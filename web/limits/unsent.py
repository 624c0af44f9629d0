"""The unsent bytes of one process, over all routes.

A response to a slow client stays in memory until the client reads it, or until the stall limit. So their total is
bounded: beyond the limit, the connection whose client has read nothing for the longest is reset. A client that reads is
hardly ever reset, however many others stall.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

log = logging.getLogger("spool.web")

PIECE_BYTES = 64 * 1024
"""The bytes that a client must read within the stall limit; each such piece counts as progress."""
_LOG_AGAIN_S = 60.0


class Waiting:
    """The unsent bytes of one connection. ``reset`` ends the connection; its sender gets an error."""

    __slots__ = ("count", "reset")

    def __init__(self, count: int, reset: Callable[[], None]) -> None:
        self.count = count
        self.reset = reset


class Unsent:
    """The unsent bytes of all connections: at most ``limit``, or one larger response."""

    def __init__(self, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit = limit
        self.total = 0
        self._clock = clock
        self._waiting: dict[Waiting, None] = {}
        """Ordered by last progress, the oldest first."""
        self._logged_at = float("-inf")

    def begin(self, count: int, reset: Callable[[], None]) -> Waiting:
        """Register ``count`` unsent bytes. Resets other connections beyond the limit."""
        waiting = Waiting(count, reset)
        self._waiting[waiting] = None
        self.total += count
        while self.total > self.limit and len(self._waiting) > 1:
            self._reset(next(iter(self._waiting)))
        return waiting

    def proceed(self, waiting: Waiting) -> None:
        """Record progress: the client read a piece. Its memory is freed only with the last piece."""
        if waiting in self._waiting:
            del self._waiting[waiting]
            self._waiting[waiting] = None

    def end(self, waiting: Waiting) -> None:
        """Unregister the bytes, sent or not. Does nothing after a reset."""
        if waiting in self._waiting:
            del self._waiting[waiting]
            self.total -= waiting.count

    def _reset(self, waiting: Waiting) -> None:
        self.end(waiting)
        waiting.reset()
        if self._clock() - self._logged_at >= _LOG_AGAIN_S:
            self._logged_at = self._clock()
            log.warning("limit of %d unsent bytes reached; resetting the connections stalled longest", self.limit)
