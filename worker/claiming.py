"""Asking for jobs: one claim at a time for each free slot, and none where one has just found nothing."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from gevent.lock import BoundedSemaphore

from spool.errors import StoreUnavailable, UndecodableRecord
from spool.fail_points import reach
from spool.jobs.claims import Claim, Wanted, new_fence
from spool.models.model import Model
from spool.outage import Outage

log = logging.getLogger("spool.worker")

_AGAIN_S = 0.2
_LOOKED_S = 0.005
_AT_A_TIME = 8
"""Claims: of many slots that become free at once a few ask, and the rest go without where those find nothing."""


class Claiming(Protocol):
    """Who claims; see ``spool.jobs.claims.Claims``."""

    def claim(self, models: Sequence[Model], fence: str, wanted: Wanted = "any") -> Claim | None: ...


class Claimer:
    """What one process asks for. ``served`` are the models that it can run; ``asked`` is called whenever Redis has
    answered; ``give_back`` gets a claim that came when nothing is taken any more; ``sleep`` takes seconds and
    ``clock`` answers them."""

    def __init__(
        self,
        claims: Claiming,
        served: Callable[[], Sequence[Model]],
        asked: Callable[[], None],
        give_back: Callable[[Claim], None],
        *,
        lease_s: float,
        sleep: Callable[[float], object],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._claims = claims
        self._served = served
        self._asked = asked
        self._give_back = give_back
        self._lease_s = lease_s
        self._sleep = sleep
        self._clock = clock
        self._empty_at = float("-inf")
        self._outage = Outage(log, "claims", "jobs wait", clock)
        self._turns = BoundedSemaphore(_AT_A_TIME)
        self.rung_at = self._clock()
        """When a bell was heard last (monotonic)."""
        self.going_on = 0
        """Claims that wait for their turn or their answer: each may bring a job."""
        self.stopped = False

    def rung(self) -> None:
        """A bell was heard: there may be jobs."""
        self.rung_at = self._clock()

    def make_room(self) -> None:
        """A job has ended whose model may run so many and no more: another one of them may be taken now."""
        self._empty_at = float("-inf")

    @property
    def has_just_looked(self) -> bool:
        """Nothing was pending a moment ago. Whatever came since rings, and there is a slot to hear it: of many jobs
        that end together not each needs to ask."""
        return self._empty_at > self.rung_at and self._clock() - self._empty_at < _LOOKED_S

    def take(self, wanted: Wanted) -> Claim | None:
        """The next job. After a lost answer the same fence is asked again, so that no job hangs on an answer."""
        self.going_on += 1
        try:
            has_to_wait = self._turns.locked()
            with self._turns:
                if has_to_wait and wanted == "any" and self.has_just_looked:
                    return None
                return self._take(wanted)
        finally:
            self.going_on -= 1

    def _take(self, wanted: Wanted) -> Claim | None:
        fence, began = new_fence(), self._clock()
        while not self.stopped:
            asked_at = self._clock()
            try:
                reach("claim.before")
                claim = self._claims.claim(self._served(), fence, wanted)
                reach("claim.answered")
                self._asked()
                self._outage.worked()
                self._empty_at = asked_at if claim is None and wanted == "any" else float("-inf")
                if claim is not None and self.stopped:
                    self._give_back(claim)
                    return None
                return claim
            except StoreUnavailable as exc:
                if self._clock() >= began + self._lease_s:
                    self._outage.failed(exc)
                    return None
                self._sleep(_AGAIN_S)
            except UndecodableRecord as exc:
                self._asked()
                log.error("a job was claimed that cannot be read, and is ended: %s", exc.reason)
                fence = new_fence()
        return None
