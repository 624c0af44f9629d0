"""The watchdog: ends a worker process that is alive but stuck, so that other workers take over its jobs.

It checks from the heartbeat's thread, which runs even when the hub is blocked. Time is counted per check: a process
that was suspended as a whole (SIGSTOP, a closed laptop) does not count as silent for that time.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import sys

log = logging.getLogger("spool.watchdog")

HUB_STANDS_S = 20.0
"""Limit for a hub that runs no greenlet: its jobs are stuck, and the thread would keep renewing their leases."""
IDLE_S = 30.0
"""Limit for a process that claims nothing although slots are free and Redis answers."""
EXIT_STATUS = 75


class Watchdog:
    """The hub calls ``ticked`` regularly, the claimer calls ``asked`` after each answered claim; ``look`` decides."""

    def __init__(self) -> None:
        self._ticks = 0
        self._ticks_seen = 0
        self._hub_silent_s = 0.0
        self._asked = 0
        self._asked_seen = 0
        self._idle_s = 0.0

    def ticked(self) -> None:
        """Record that the hub runs."""
        self._ticks += 1

    def asked(self) -> None:
        """Record that Redis answered a claim."""
        self._asked += 1

    def look(self, passed_s: float, *, could_take: bool) -> str | None:
        """Return the fault, or None. ``passed_s`` is the time since the last check; ``could_take`` is true if slots
        are free and Redis answers."""
        self._hub_silent_s = self._hub_silent_s + passed_s if self._ticks == self._ticks_seen else 0.0
        self._ticks_seen = self._ticks
        idle = could_take and self._asked == self._asked_seen
        self._idle_s = self._idle_s + passed_s if idle else 0.0
        self._asked_seen = self._asked
        if self._hub_silent_s >= HUB_STANDS_S:
            return f"the hub has run no greenlet for {self._hub_silent_s:.0f} s"
        if self._idle_s >= IDLE_S:
            return f"no claim attempted for {self._idle_s:.0f} s although slots are free"
        return None


def end_process(reason: str) -> None:
    """Exit at once, because a cleanup would have to run in the hub. The leases of its jobs expire."""
    log.critical("this worker is alive but stuck: %s; exiting", reason)
    faulthandler.dump_traceback(file=sys.stderr, all_threads=True)
    os._exit(EXIT_STATUS)
