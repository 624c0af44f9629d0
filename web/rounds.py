"""Rounds: bounded computing by all requests of a process, with a hub poll for tokens and clients after each.

Each request yields after a few milliseconds. But a thousand simultaneous requests would still run one after the
other, before everything else.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

import gevent
from gevent.hub import Waiter

from spool import hub

ROUND_S = 0.005
"""The computing time of a round, over all requests. Further requests wait for the next round."""
_LOOKS = 2
"""Hub iterations between rounds: a token needs more than one from Redis to its reader."""


def look_around() -> None:
    """Run all ready greenlets and let the hub poll all connections, without blocking."""
    for _ in range(_LOOKS):
        timer = hub.timer(0)
        try:
            hub.wait(timer)
        finally:
            timer.close()


class Rounds:
    """The rounds of one process, first come, first served. ``rest`` runs everything else."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        rest: Callable[[], object] = look_around,
    ) -> None:
        self._clock = clock
        self._rest = rest
        self._until: float | None = None
        """The end of this round; None once everything else has run since the last round."""
        self._waiting: deque[Waiter[None]] = deque()
        self._admits = False

    def enter(self) -> None:
        """Return when this round, or the next, has room. Between rounds everything else runs."""
        if self._waiting:
            self._wait()
        elif self._until is None:
            self._until = self._clock() + ROUND_S
            # The hub calls this after it has polled all connections.
            timer = hub.timer(0)
            timer.start(self._over, timer)
        elif self._clock() >= self._until:
            self._wait()

    def _wait(self) -> None:
        admitted: Waiter[None] = Waiter()
        self._waiting.append(admitted)
        if not self._admits:
            self._admits = True
            gevent.spawn(self._admit)
        admitted.get()

    def _over(self, timer: hub.Watcher) -> None:
        timer.close()
        if not self._admits:
            self._until = None

    def _admit(self) -> None:
        self._rest()
        while self._waiting:
            self._until = self._clock() + ROUND_S
            while self._waiting and self._clock() < self._until:
                hub.soon(self._waiting.popleft().switch, None)
                # The admitted greenlet runs now, until it waits for something.
                gevent.sleep(0)
            self._rest()
        self._until, self._admits = None, False


ROUNDS = Rounds()
"""The rounds of this process."""
