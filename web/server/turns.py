"""How greenlets that would never have to wait share a process with those that do."""

from __future__ import annotations

import time
from collections.abc import Callable

import gevent

TURN_S = 0.005
"""How long a connection whose bytes are all there may keep the process to itself."""
_REST_S = 0.001


class Turns:
    """Turns of one process, one after the other, with a rest after each in which everything else runs: however many
    connections are busy, what they do together takes a part of the process and no more."""

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
        """Let everything else run that can."""
        self._sleep(_REST_S)
