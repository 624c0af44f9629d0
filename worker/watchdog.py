"""The watchdog: a worker that is alive and does nothing is worse than a dead one, whose jobs others take over.

It looks from the heartbeat's thread, which runs even when the hub stands still. Time is counted in looks, so that a
process which was stopped as a whole (SIGSTOP, a laptop's lid) has not been silent meanwhile.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import sys

log = logging.getLogger("spool.watchdog")

HUB_STANDS_S = 20.0
"""A hub that ran no greenlet for so long: its jobs stand still, and the thread would go on renewing their leases."""
IDLE_S = 30.0
"""Free slots, a Redis that answers, and for so long nobody asked it for a job."""
EXIT_STATUS = 75


class Watchdog:
    """``ticked`` is called by the hub now and then, ``asked`` whenever Redis has answered a claim; ``look`` judges."""

    def __init__(self) -> None:
        self._ticks = 0
        self._ticks_seen = 0
        self._hub_silent_s = 0.0
        self._asked = 0
        self._asked_seen = 0
        self._idle_s = 0.0

    def ticked(self) -> None:
        """The hub runs."""
        self._ticks += 1

    def asked(self) -> None:
        """Redis was asked for a job, and answered."""
        self._asked += 1

    def look(self, passed_s: float, *, could_take: bool) -> str | None:
        """What is wrong, if anything. ``passed_s`` since the last look; ``could_take``: slots are free and Redis
        answers."""
        self._hub_silent_s = self._hub_silent_s + passed_s if self._ticks == self._ticks_seen else 0.0
        self._ticks_seen = self._ticks
        idle = could_take and self._asked == self._asked_seen
        self._idle_s = self._idle_s + passed_s if idle else 0.0
        self._asked_seen = self._asked
        if self._hub_silent_s >= HUB_STANDS_S:
            return f"nothing but the heartbeat has run for {self._hub_silent_s:.0f} s"
        if self._idle_s >= IDLE_S:
            return f"slots are free, and nobody has asked for a job for {self._idle_s:.0f} s"
        return None


def end_process(reason: str) -> None:
    """The end, at once: nothing that would have to run in the hub can be waited for. Its leases run out."""
    log.critical("this worker is alive and does not work: %s; it ends itself", reason)
    faulthandler.dump_traceback(file=sys.stderr, all_threads=True)
    os._exit(EXIT_STATUS)
