"""The keeper: detects lost leases, lost bells and passed deadlines. It runs in every worker and every web process.

A lock in Redis lets one process at a time do a shard's round. The lock only saves work: concurrent rounds are harmless.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import orjson

from spool.errors import SpoolError
from spool.fail_points import reach
from spool.jobs.job import SCHEMA
from spool.jobs.scripts import arguments, script
from spool.jobs.shards import Shard
from spool.logs import event
from spool.metrics import JOBS_ENDED, JOBS_LOST
from spool.outage import Outage
from spool.tracing import tracing

BEAT_S = 1.0
_JOBS_A_CALL = 25
"""Redis does nothing else during a call, so tokens of other jobs wait a few milliseconds for it."""
_CALLS_A_ROUND = 1000
_PAUSE_S = 0.001
_BELLS_A_BEAT = 100

log = logging.getLogger("spool.keeper")


@dataclass(frozen=True, slots=True)
class Round:
    """The result of one round.

    Numbers: ``pending`` jobs, ``free`` slots, jobs ``taken_over`` from lost workers, jobs ended as ``overdue``, jobs
    that could not be handled (``broken``), jobs ``set_aside`` as damaged, and jobs for a ``newer`` version.
    ``patient``: leases are not judged yet.
    """

    pending: int
    free: int
    taken_over: int
    overdue: int
    broken: int
    patient: bool
    set_aside: int = 0
    newer: int = 0


class Keeper:
    """The keeper of one shard. ``ring`` rings the bell once."""

    def __init__(self, shard: Shard, ring: Callable[[], None], *, lease_s: float, max_attempts: int) -> None:
        self._shard = shard
        self._ring = ring
        self._lease_ms = round(lease_s * 1000)
        self._max_attempts = max_attempts
        self._name = secrets.token_hex(8)
        self._is_newer_logged = False
        self._broken = 0
        self._outage = Outage(log, "keeper", "lost leases and passed deadlines are not handled")

    def beat(self, wait: Callable[[float], object] = time.sleep) -> Round | None:
        """Do one round; None if another process keeps this shard now. Raises ``StoreUnavailable``.

        A round repeats its call until nothing is due, with a short pause between calls (``wait`` sleeps). So ten
        thousand jobs with the same deadline end within seconds, and no token waits long. A round rings once for each
        waiting job that has a free slot, up to a bound. A lost bell therefore costs one beat and nothing else.
        """
        total: Round | None = None
        for call in range(_CALLS_A_ROUND):
            reply = self._call(is_first=call == 0)
            if reply is None:
                break
            part, more = reply
            total = part if total is None else _sum(total, part)
            if not more:
                break
            wait(_PAUSE_S)
        if total is None:
            return None
        self._log_round(total)
        for _ in range(min(total.pending, total.free, _BELLS_A_BEAT)):
            self._ring()
            reach("keep.bell")
        return total

    def _call(self, *, is_first: bool) -> tuple[Round, bool] | None:
        args = arguments(
            "keep",
            lease_ms=self._lease_ms,
            max_attempts=self._max_attempts,
            most=_JOBS_A_CALL,
            beat_ms=round(BEAT_S * 900),
            keeper_name=self._name,
            is_first=int(is_first),
        )
        reach("keep.before")
        reply = self._shard.run(script("keep"), *args)
        reach("keep.answered")
        if reply is None:
            return None
        pending, free, taken_over, overdue, broken, patient, more, set_aside, newer, told, *notices = reply
        for line in told:
            _tell(orjson.loads(line))
        for notice in notices:
            log.error("keeper: %s", notice.decode(errors="replace"))
        part = Round(pending, free, taken_over, overdue, broken, bool(patient), set_aside, newer)
        return part, bool(more)

    def _log_round(self, total: Round) -> None:
        if total.taken_over:
            log.warning("keeper: %d jobs lost their workers", total.taken_over)
        if total.overdue:
            log.info("keeper: ended %d jobs past their deadline", total.overdue)
        if total.broken > self._broken:
            log.error("keeper: could not handle %d jobs; retrying later", total.broken)
        self._broken = total.broken
        if total.newer and not self._is_newer_logged:
            log.warning(
                "keeper: %d jobs need a newer version of Spool (this version reads schema %d); they stay queued",
                total.newer,
                SCHEMA,
            )
        self._is_newer_logged = total.newer > 0

    def run(self, wait: Callable[[float], object], stopped: Callable[[], bool]) -> None:
        """Do one round per beat until ``stopped``; ``wait`` sleeps. Logs Redis errors and continues."""
        while not stopped():
            try:
                self.beat(wait)
                self._outage.worked()
            except SpoolError as exc:
                self._outage.failed(exc)
            wait(BEAT_S)


def _tell(what: dict[str, Any]) -> None:
    """Log, count and trace what a script did to a job."""
    name, model = what.pop("event"), what.get("model", "")
    _trace(name, what)
    event(name, **what)
    if name == "job_ended":
        JOBS_ENDED.labels(model, what["status"]).inc()
    elif name == "job_lost":
        JOBS_LOST.labels(model).inc()


def _trace(name: str, what: dict[str, Any]) -> None:
    """End the span of an attempt whose worker died, which cannot; a job that ends without a worker gets one of its own.
    Removes the fields that are for traces alone."""
    parent, at_ms, claimed_ms = (what.pop(key, None) for key in ("traceparent", "at_ms", "claimed_ms"))
    if not parent or not tracing.is_on:
        return
    is_lost = name == "job_lost"
    about = {"spool.job.id": what["job"], "spool.model": what.get("model"), "spool.attempt": what.get("attempt")}
    outcome = "lost" if is_lost else what.get("status")
    at_s = at_ms / 1000
    span = tracing.begin(
        "attempt" if is_lost else "end",
        parent,
        kind="CONSUMER" if is_lost else "INTERNAL",
        at_s=min(claimed_ms or at_ms, at_ms) / 1000 if is_lost else at_s,
        attributes={**about, "spool.outcome": outcome},
    )
    span.end(what.get("reason" if is_lost else "code") or "", at_s)


def _sum(before: Round, part: Round) -> Round:
    return replace(
        part,
        taken_over=before.taken_over + part.taken_over,
        overdue=before.overdue + part.overdue,
        broken=before.broken + part.broken,
    )
