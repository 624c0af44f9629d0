"""Turns: fair sharing between greenlets that would never block and all others."""

from __future__ import annotations

import time
from collections.abc import Callable

import gevent

TURN_S = 0.005
"""Seconds that a connection with available bytes may run before it yields."""
_REST_S = 0.001


class Turns:
    """The turns of one process, one after the other, with a rest after each for everything else. However many
    connections are busy, together they use only a part of the process's time."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], object] = gevent.sleep
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._next_at = 0.0

    def wait(self) -> None:
        """Wait for the next turn."""
        now = self._clock()
        begins = max(now + _REST_S, self._next_at)
        self._next_at = begins + TURN_S + _REST_S
        self._sleep(begins - now)

    def rest(self) -> None:
        """Yield to everything else."""
        self._sleep(_REST_S)
