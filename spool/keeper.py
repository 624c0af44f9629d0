"""The keeper: what notices lost leases, lost bells and passed deadlines. Runs in every worker and every web process.

One of them at a time does a shard's round (a lock in Redis, which only spares work: two rounds at once do no harm).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from spool.errors import SpoolError
from spool.fail_points import reach
from spool.redis_link import RedisLink
from spool.scripting import script

BEAT_S = 1.0
_MOST_A_ROUND = 200
_BELLS_A_BEAT = 100

log = logging.getLogger("spool.keeper")


@dataclass(frozen=True, slots=True)
class Round:
    """What one round found and did."""

    pending: int
    free: int
    taken_over: int
    overdue: int
    broken: int
    patient: bool


class Keeper:
    """Keeps one shard. ``ring`` rings the bell once."""

    def __init__(
        self, link: RedisLink, ring: Callable[[], None], *, shard: int, lease_s: float, max_attempts: int
    ) -> None:
        self._link = link
        self._ring = ring
        self._shard = shard
        self._lease_ms = round(lease_s * 1000)
        self._max_attempts = max_attempts

    def beat(self) -> Round | None:
        """One round: None where another process keeps this shard now. Raises ``StoreUnavailable``.

        Rings one bell per job that waits and slot that is free (a bounded number), so that a lost bell costs a beat
        and nothing else.
        """
        args = (self._lease_ms, self._max_attempts, _MOST_A_ROUND, round(BEAT_S * 900))
        reach("keep.before")
        reply = self._link.run(script("keep"), self._shard, *args)
        reach("keep.answered")
        if reply is None:
            return None
        pending, free, taken_over, overdue, broken, patient = reply
        found = Round(pending, free, taken_over, overdue, broken, bool(patient))
        if found.taken_over:
            log.warning("keeper: the workers of %d jobs were lost", found.taken_over)
        if found.overdue:
            log.info("keeper: ended %d jobs past their deadline", found.overdue)
        if found.broken:
            log.error("keeper: %d jobs have broken records; tried again later", found.broken)
        for _ in range(min(found.pending, found.free, _BELLS_A_BEAT)):
            self._ring()
            reach("keep.bell")
        return found

    def run(self, wait: Callable[[float], object], stopped: Callable[[], bool]) -> None:
        """Beat until ``stopped``; ``wait`` sleeps. Trouble with Redis is what a keeper waits out."""
        while not stopped():
            try:
                self.beat()
            except SpoolError as exc:
                log.warning("keeper: %s", exc)
            wait(BEAT_S)
