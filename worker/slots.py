"""The slots of a worker process: claims a job for each free slot, and runs it to its end."""

from __future__ import annotations

import time
from collections.abc import Callable

import gevent
from gevent.event import Event

from spool.jobs.claims import Claim, Wanted
from spool.redis.server_check import FitnessCheck
from worker.claiming import Claimer
from worker.runner import JobRunner

_PATROL_S = 1.0
_HEARD_S = 1.0
"""How long after a claim a free slot has surely heard the bells of later jobs, if it was free all the time."""


class Slots:
    """The slots of one process: ``count`` of them, and as many again for retries. None is free once ``draining`` is
    set, while Redis is unfit, or while a switch drains this worker (``is_drained``). With ``bells``, the process claims
    when a bell rings. Attempts that wait for their upstream use no slot, up to ``count`` of them."""

    def __init__(
        self,
        claimer: Claimer,
        runner: JobRunner,
        fitness: FitnessCheck,
        draining: Event,
        *,
        count: int,
        bells: bool,
        is_drained: Callable[[], bool] = lambda: False,
    ) -> None:
        self._claimer = claimer
        self._runner = runner
        self._fitness = fitness
        self._draining = draining
        self._count = count
        self._bells = bells
        self._is_drained = is_drained
        self._full_at = float("-inf")
        """When the last free slot was taken."""
        self.busy = 0
        """Slots in use, each from before its claim until its job ends."""

    @property
    def free(self) -> int:
        """Slots that could run another job now."""
        return max(0, self._room(self._count))

    @property
    def reported_free(self) -> int:
        """Free slots that a bell may be rung for. Safe from the heartbeat's thread."""
        return self.free if self._bells else 0

    @property
    def _has_reserve(self) -> bool:
        """Whether there is room beyond the slots for retries, which must not wait behind jobs that may take an hour.
        The reserve equals the number of slots, so that half of the workers can replace the other half."""
        return self._room(2 * self._count) > 0

    def _room(self, capacity: int) -> int:
        if self._draining.is_set() or not self._fitness.is_fit or self._is_drained():
            return 0
        return capacity + min(self._runner.waiting, self._count) - self.busy

    def rung(self) -> None:
        """Handle a bell: claim and run jobs."""
        self._claimer.rung()
        self.run_all()

    def run_all(self) -> None:
        """Claim and run one job after the other, until nothing is pending. Without another claim, if the last one found
        its job to be the only one: a bell rings for each later job, and another slot was free to hear it."""
        while self.free > 0 and not self._claimer.has_just_looked:
            claimed_at, claim = time.monotonic(), self._claim("any")
            if claim is None:
                return
            self._run(claim)
            if not claim.has_more and claimed_at > max(self._full_at, time.monotonic() - _HEARD_S):
                return

    def run_one(self, wanted: Wanted) -> bool:
        """Claim a job and run it to its end. False if there is none."""
        claim = self._claim(wanted)
        if claim is not None:
            self._run(claim)
        return claim is not None

    def patrol(self) -> None:
        """Until the drain: poll for jobs while no bell rings, since the broker may be away or backing off, and it does
        not hold the jobs. Poll for retries while all slots are in use, when bells are ignored."""
        while not self._draining.is_set():
            # Repeatedly: the server may be reconfigured or replaced at any time.
            self._fitness.look()
            gevent.sleep(_PATROL_S)
            while self.free > 0 and time.monotonic() - self._claimer.rung_at > _PATROL_S and self._start_one("any"):
                pass
            while self.free == 0 and self._has_reserve and self._start_one("retries"):
                pass

    def fill(self) -> None:
        """Claim jobs for all free slots: a closed model has opened, or more of its jobs may be tried."""
        self._claimer.make_room()
        while self.reported_free > 0 and self._start_one("any"):
            pass

    def _start_one(self, wanted: Wanted) -> bool:
        claim = self._claim(wanted)
        if claim is not None:
            gevent.spawn(self._run_then_claim, claim)
        return claim is not None

    def _run_then_claim(self, claim: Claim) -> None:
        self._run(claim)
        self.run_all()

    def _claim(self, wanted: Wanted) -> Claim | None:
        """Claim a job for a slot, which is in use from now on unless there is no job."""
        claim = None
        self.busy += 1
        if self.free == 0:
            self._full_at = time.monotonic()
        try:
            claim = self._claimer.take(wanted)
        finally:
            if claim is None:
                self.busy -= 1
        return claim

    def _run(self, claim: Claim) -> None:
        try:
            self._runner.run(claim)
        finally:
            self.busy -= 1
