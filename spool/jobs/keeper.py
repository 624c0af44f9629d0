"""The keeper: what notices lost leases, lost bells and passed deadlines. Runs in every worker and every web process.

One of them at a time does a shard's round (a lock in Redis, which only spares work: two rounds at once do no harm).
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from spool.errors import SpoolError
from spool.fail_points import reach
from spool.jobs.job import SCHEMA
from spool.jobs.scripts import script
from spool.outage import Outage
from spool.redis.link import RedisLink

BEAT_S = 1.0
_JOBS_A_CALL = 25
"""Redis does nothing else meanwhile: tokens of other jobs wait a few milliseconds for it."""
_CALLS_A_ROUND = 1000
_PAUSE_S = 0.001
_BELLS_A_BEAT = 100

log = logging.getLogger("spool.keeper")


@dataclass(frozen=True, slots=True)
class Round:
    """What one round found and did. ``set_aside`` and ``newer`` are how many such jobs there are."""

    pending: int
    free: int
    taken_over: int
    overdue: int
    broken: int
    patient: bool
    set_aside: int = 0
    newer: int = 0


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
        self._name = secrets.token_hex(8)
        self._newer_said = False
        self._broken = 0
        self._outage = Outage(log, "keeper", "lost leases and passed deadlines wait")

    def beat(self, wait: Callable[[float], object] = time.sleep) -> Round | None:
        """One round: None where another process keeps this shard now. Raises ``StoreUnavailable``.

        It is as many calls as it takes until nothing is due, with a moment between them (``wait`` sleeps): ten thousand
        jobs with one deadline end within seconds, and no token waits long. Rings one bell per job that waits and slot
        that is free (a bounded number), so that a lost bell costs a beat and nothing else.
        """
        found: Round | None = None
        for call in range(_CALLS_A_ROUND):
            called = self._call(is_first=call == 0)
            if called is None:
                break
            part, more = called
            found = part if found is None else _sum(found, part)
            if not more:
                break
            wait(_PAUSE_S)
        if found is None:
            return None
        self._say(found)
        for _ in range(min(found.pending, found.free, _BELLS_A_BEAT)):
            self._ring()
            reach("keep.bell")
        return found

    def _call(self, *, is_first: bool) -> tuple[Round, bool] | None:
        args = (self._lease_ms, self._max_attempts, _JOBS_A_CALL, round(BEAT_S * 900), self._name, int(is_first))
        reach("keep.before")
        reply = self._link.run(script("keep"), self._shard, *args)
        reach("keep.answered")
        if reply is None:
            return None
        pending, free, taken_over, overdue, broken, patient, more, set_aside, newer, *notices = reply
        for notice in notices:
            log.error("keeper: %s", notice.decode(errors="replace"))
        found = Round(pending, free, taken_over, overdue, broken, bool(patient), set_aside, newer)
        return found, bool(more)

    def _say(self, found: Round) -> None:
        if found.taken_over:
            log.warning("keeper: the workers of %d jobs were lost", found.taken_over)
        if found.overdue:
            log.info("keeper: ended %d jobs past their deadline", found.overdue)
        if found.broken > self._broken:
            log.error("keeper: %d jobs could not be handled; tried again later", found.broken)
        self._broken = found.broken
        if found.newer and not self._newer_said:
            log.warning(
                "keeper: %d jobs were written by a newer version of Spool (this one reads schema %d); they wait for it",
                found.newer,
                SCHEMA,
            )
        self._newer_said = found.newer > 0

    def run(self, wait: Callable[[float], object], stopped: Callable[[], bool]) -> None:
        """Beat until ``stopped``; ``wait`` sleeps. Trouble with Redis is what a keeper waits out."""
        while not stopped():
            try:
                self.beat(wait)
                self._outage.worked()
            except SpoolError as exc:
                self._outage.failed(exc)
            wait(BEAT_S)


def _sum(before: Round, part: Round) -> Round:
    return replace(
        part,
        taken_over=before.taken_over + part.taken_over,
        overdue=before.overdue + part.overdue,
        broken=before.broken + part.broken,
    )
