"""Claims jobs for free slots; skips a claim right after one came back empty."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from gevent.event import Event
from gevent.lock import BoundedSemaphore

from spool.errors import StoreUnavailable, UndecodableRecord
from spool.fail_points import reach
from spool.jobs.claims import Claim, Wanted, new_fence
from spool.jobs.shards import Shard
from spool.models.model import Model
from spool.outage import Outage
from worker.watchdog import Watchdog

log = logging.getLogger("spool.worker")

_AGAIN_S = 0.2
_LOOKED_S = 0.005
_AT_A_TIME = 8
"""Concurrent claims: if many slots become free at once, a few claim, and the rest skip theirs if those find nothing."""


class Claiming(Protocol):
    """The claim calls; see ``spool.jobs.claims.Claims``."""

    def in_turn(self) -> Sequence[Shard]: ...
    def claim(self, shard: Shard, models: Sequence[Model], fence: str, wanted: Wanted = "any") -> Claim | None: ...


class Claimer:
    """Claims jobs for one process. ``served`` returns the models that it can run. Once ``draining`` is set, no claim
    begins; an outstanding one may still bring a job. ``sleep`` and ``clock`` are in seconds."""

    def __init__(
        self,
        claims: Claiming,
        served: Callable[[], Sequence[Model]],
        watchdog: Watchdog,
        draining: Event,
        *,
        lease_s: float,
        sleep: Callable[[float], object],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._claims = claims
        self._served = served
        self._watchdog = watchdog
        self._draining = draining
        self._lease_s = lease_s
        self._sleep = sleep
        self._clock = clock
        self._empty_at = float("-inf")
        self._outage = Outage(log, "claims", "jobs wait", clock)
        self._turns = BoundedSemaphore(_AT_A_TIME)
        self.rung_at = self._clock()
        """Time of the last bell (monotonic)."""

    def rung(self) -> None:
        """Record a bell: there may be jobs."""
        self.rung_at = self._clock()

    def make_room(self) -> None:
        """Forget the last empty claim: a job ended whose model limits concurrency, so another may now be claimable."""
        self._empty_at = float("-inf")

    @property
    def has_just_looked(self) -> bool:
        """Whether a claim came back empty a moment ago and no bell has rung since. A newer job rings a bell, and a slot
        is free for it. So if many jobs end together, not every slot has to claim."""
        return self._empty_at > self.rung_at and self._clock() - self._empty_at < _LOOKED_S

    def take(self, wanted: Wanted) -> Claim | None:
        """Claim the next job; None if there is none. After a lost answer it retries with the same fence, so that no
        job stays claimed by an answer that never arrived."""
        has_to_wait = self._turns.locked()
        with self._turns:
            if has_to_wait and wanted == "any" and self.has_just_looked:
                return None
            return self._take(wanted)

    def _take(self, wanted: Wanted) -> Claim | None:
        asked_at = self._clock()
        try:
            for shard in self._claims.in_turn():
                claim = self._take_from(shard, wanted)
                if claim is not None:
                    self._empty_at = float("-inf")
                    return claim
        except StoreUnavailable as exc:
            self._outage.failed(exc)
            return None
        self._empty_at = asked_at if wanted == "any" else float("-inf")
        return None

    def _take_from(self, shard: Shard, wanted: Wanted) -> Claim | None:
        fence, began = new_fence(), self._clock()
        while not self._draining.is_set():
            try:
                reach("claim.before")
                claim = self._claims.claim(shard, self._served(), fence, wanted)
                reach("claim.answered")
                self._watchdog.asked()
                self._outage.worked()
                return claim
            except StoreUnavailable:
                if self._clock() >= began + self._lease_s:
                    raise
                self._sleep(_AGAIN_S)
            except UndecodableRecord as exc:
                self._watchdog.asked()
                log.error("claimed a job whose record cannot be decoded; the job is ended: %s", exc.reason)
                fence = new_fence()
        return None
