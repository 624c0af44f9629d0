"""Attempts that this process may still have to repair in Redis: running ones, and for some seconds ended or released.

Redis may restart without its last second of writes. This module resends the lost entries, ends and claims under
their old ids and fences.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import takewhile
from typing import Protocol

import gevent
from gevent.greenlet import Greenlet

from spool.errors import StoreUnavailable
from spool.fail_points import reach
from spool.jobs.claims import SENT_UNKNOWN, Claim, Held
from spool.jobs.class_shares import BatchSlots
from spool.jobs.job import Priority
from spool.outage import Outage
from worker.attempt import Attempt
from worker.attempt_log import AttemptLog, AttemptOver

log = logging.getLogger("spool.worker")

KEEP_S = 5.0
"""How long an ended attempt's entries are kept: longer than the writes that Redis's ``appendfsync everysec`` may lose.
The time does not run while Redis does not answer (see ``forget``)."""
_KEEP_BYTES = 64 * 1024 * 1024
_ADOPT_TRIES = 20
_ADOPT_AGAIN_S = 0.5

Key = tuple[str, str]
"""A job's id and the fence it is held under."""


class Ownership(Protocol):
    """Restores or closes a claim that Redis has lost; see ``spool.jobs.claims.Claims``."""

    def adopt(self, claim: Claim) -> int | bytes: ...
    def disown(self, claim: Claim) -> None: ...


@dataclass(frozen=True, slots=True)
class Running:
    """An attempt and its greenlet."""

    attempt: Attempt
    greenlet: Greenlet[..., None]


class OwnedAttempts:
    """The attempts of one process."""

    def __init__(
        self,
        claims: Ownership,
        clock: Callable[[], float] = time.monotonic,
        batch_slots: BatchSlots | None = None,
    ) -> None:
        self._clock = clock
        self._claims = claims
        self.running: dict[Key, Running] = {}
        self._ended: dict[Key, tuple[float, AttemptLog]] = {}
        self._given_up: dict[Key, tuple[float, Claim]] = {}
        self._disowning: set[Key] = set()
        self._ended_bytes = 0
        self._batch_slots = batch_slots or BatchSlots()

    def begin(self, running: Running) -> None:
        """Register an attempt that begins."""
        self.running[_key(running.attempt.log)] = running
        self._batch_slots.running += _is_batch(running.attempt.log)

    @property
    def waiting(self) -> int:
        """Number of running attempts that wait for their upstream."""
        return sum(one.attempt.is_waiting for one in list(self.running.values()))

    def check_limits(self, now: float) -> None:
        """End the attempts that have passed a limit by ``now`` (monotonic), unless they are blocked on Redis."""
        for one in list(self.running.values()):
            passed, attempt_log = one.attempt.stopwatch.passed(now), one.attempt.log
            if passed is not None and not (attempt_log.outcome or attempt_log.ending or attempt_log.blocked):
                one.greenlet.kill(passed, block=False)

    def end(self, running: Running) -> None:
        """Unregister an attempt that is over. If Redis has its end, keep its entries for a while; otherwise keep only
        the fact that it existed."""
        attempt_log = running.attempt.log
        del self.running[_key(attempt_log)]
        self._batch_slots.running -= _is_batch(attempt_log)
        if attempt_log.outcome != "ended":
            self.give_up(attempt_log.claim)
            return
        self._ended[_key(attempt_log)] = (self._clock(), attempt_log)
        self._ended_bytes += attempt_log.size
        while self._ended_bytes > _KEEP_BYTES:
            self._drop(next(iter(self._ended)))

    def give_up(self, claim: Claim) -> None:
        """Release a job that was handed back, lost or cancelled, so that others may claim it. Remember its claim:
        readers have seen that the attempt began, even if Redis is about to lose that."""
        self._given_up[claim.job.id, claim.fence] = (self._clock(), claim)

    def held(self, *, with_ended: bool, server: str) -> list[Held]:
        """The attempts that a heartbeat reports to the run ``server`` of Redis. Safe from the heartbeat's thread.

        ``with_ended`` includes all attempts, and also confirmed ends, for the first beat after an outage. Otherwise
        jobs are left out if their appends already do the work of a beat.
        """
        # Iterate over copies: the hub adds and removes meanwhile. Call ``wants_beat`` on each log even if all are
        # reported: it records the log's progress.
        logs = [
            one.attempt.log
            for one in list(self.running.values())
            if not one.greenlet.dead and (one.attempt.log.wants_beat(server) or with_ended)
        ]
        logs += [kept for _at, kept in list(self._ended.values()) if with_ended or kept.outcome is None]
        held = [Held(one.job_id, one.fence, one.acked, one.sent) for one in logs]
        given_up = [key for key in list(self._given_up) if with_ended or key in self._disowning]
        return held + [Held(*key, 0, SENT_UNKNOWN) for key in given_up]

    def whole(self, found: list[Held], server: str) -> None:
        """Mark these logs as complete on this run of Redis. Safe from the heartbeat's thread."""
        for held in found:
            running = self.running.get((held.job_id, held.fence))
            if running is not None:
                running.attempt.log.whole_on = server

    def answered(self, held: Held, answer: bytes | int) -> None:
        """Handle Redis's answer for one attempt: resend the entries that it lost, adopt a lost claim."""
        key = (held.job_id, held.fence)
        if key in self._given_up:
            if answer == b"unclaimed" and key not in self._disowning:
                self._disowning.add(key)
                gevent.spawn(self._disown, key)
            return
        found = self.running[key].attempt.log if key in self.running else self._ended.get(key, (0.0, None))[1]
        if found is None or (answer == b"lost" and found.ending):
            # Redis no longer lists it because it has the end: the appender's answer is on its way.
            return
        if isinstance(answer, int):
            log.warning("job %s: Redis lost its entries from %d on; resending them", held.job_id, answer + 1)
        found.answered(answer)

    def over(self, attempt_log: AttemptLog, outcome: str) -> None:
        """Interrupt the attempt that writes this log: it is lost or cancelled."""
        running = self.running.get(_key(attempt_log))
        if running is not None:
            running.greenlet.kill(AttemptOver(outcome), block=False)

    def unclaimed(self, attempt_log: AttemptLog) -> None:
        """Adopt the claim of this log, which Redis has lost."""
        gevent.spawn(self._adopt_again, attempt_log)

    def forget(self, before: float) -> None:
        """Drop the attempts that ended ``KEEP_S`` before ``before`` (monotonic), when Redis still had everything. Never
        called while Redis does not answer, or before a beat has reported the ended attempts."""
        # Ordered by end: stop at the first that is too young, since few of thousands are old enough.
        old = list(takewhile(lambda item: item[1][0] < before - KEEP_S, self._ended.items()))
        for key, (_ended_at, kept) in old:
            if kept.outcome is not None:
                self._drop(key)
        for key, (given_up_at, _claim) in list(self._given_up.items()):
            if key not in self._disowning and given_up_at < before - KEEP_S:
                del self._given_up[key]

    def _drop(self, key: Key) -> None:
        _at, kept = self._ended.pop(key)
        self._ended_bytes -= kept.size

    def _disown(self, key: Key) -> None:
        outage = Outage(log, f"job {key[0]}", "it is not disowned yet")
        while True:
            try:
                self._claims.disown(self._given_up[key][1])
            except StoreUnavailable as exc:
                outage.failed(exc)
                gevent.sleep(_ADOPT_AGAIN_S)
            else:
                self._disowning.discard(key)
                return

    def _adopt_again(self, attempt_log: AttemptLog) -> None:
        answer: int | bytes = b"lost"
        outage = Outage(log, f"job {attempt_log.job_id}", "its claim is not adopted yet")
        for _ in range(_ADOPT_TRIES):
            try:
                reach("adopt.before")
                answer = self._claims.adopt(attempt_log.claim)
                reach("adopt.answered")
                break
            except StoreUnavailable as exc:
                outage.failed(exc)
                gevent.sleep(_ADOPT_AGAIN_S)
        if isinstance(answer, int):
            log.warning("job %s: Redis lost its claim; adopted again", attempt_log.job_id)
        attempt_log.adopted(answer)


def _is_batch(attempt_log: AttemptLog) -> bool:
    return attempt_log.claim.job.priority is Priority.BATCH


def _key(attempt_log: AttemptLog) -> Key:
    return attempt_log.job_id, attempt_log.fence
