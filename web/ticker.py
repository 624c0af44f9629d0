"""The ticker: one timer for everything in a process that must be looked at regularly and has no timer of its own."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import NoReturn, Protocol

import gevent

log = logging.getLogger("spool.web")

_TICK_S = 0.5


class Ticked(Protocol):
    """An object with deadlines."""

    def tick(self, now: float) -> None:
        """Act on the deadlines that have passed (monotonic). It must not block."""
        ...


class Ticker:
    """Calls ``tick`` of each added object twice a second."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], object] = gevent.sleep
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._ticked: dict[Ticked, None] = {}

    def add(self, ticked: Ticked) -> None:
        """Begin to call it."""
        self._ticked[ticked] = None

    def remove(self, ticked: Ticked) -> None:
        """No longer call it. Does nothing if it was not added."""
        self._ticked.pop(ticked, None)

    def run(self) -> NoReturn:
        """Call all, for ever."""
        while True:
            self._sleep(_TICK_S)
            self.tick()

    def tick(self) -> None:
        """Call all once. An error of one does not keep the others from their call."""
        now = self._clock()
        for ticked in list(self._ticked):
            try:
                ticked.tick(now)
            except Exception:
                log.exception("tick failed")
