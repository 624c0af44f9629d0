"""One job's view of its model's gate in Redis, which all workers share; and the claims when a model opens again."""

from __future__ import annotations

import logging
from collections.abc import Callable

import gevent

from spool.errors import StoreUnavailable
from spool.jobs.claims import Claim
from spool.jobs.closed_models import ClosedModels, Refusal, RefusalKind

log = logging.getLogger("spool.upstream")

_LATE_S = 0.01
"""Claims come this much after the time at which a model opens, since clocks are read in milliseconds."""


class Reopening:
    """Claims jobs when a closed model opens, or lets more of them be tried.

    ``claim`` claims jobs for all free slots. ``later`` runs a function after so many seconds.
    """

    def __init__(
        self,
        claim: Callable[[], None],
        later: Callable[[float, Callable[[], None]], object] = gevent.spawn_later,
    ) -> None:
        self._claim = claim
        self._later = later
        self._due: set[tuple[str, float]] = set()

    def at(self, model: str, epoch_s: float, wait_s: float) -> None:
        """Claim at that time of Redis's clock, which is ``wait_s`` from now; jobs of the model that are refused until
        the same time share one claim."""
        if (model, epoch_s) not in self._due:
            self._due.add((model, epoch_s))
            self._later(wait_s + _LATE_S, lambda: self._open(model, epoch_s))

    def now(self) -> None:
        """Claim at once, in another greenlet."""
        self._later(0.0, self._claim)

    def _open(self, model: str, epoch_s: float) -> None:
        self._due.discard((model, epoch_s))
        self._claim()


class AttemptGate:
    """Reports one attempt's calls; see ``worker.backends.SharedGate``. A report that Redis does not take is logged."""

    def __init__(self, models: ClosedModels, claim: Claim, reopening: Reopening) -> None:
        self._models = models
        self._claim = claim
        self._reopening = reopening
        self.is_probe = bool(claim.probe)

    def accepted(self) -> None:
        """Report the job as accepted, once, if its model was closed when it began."""
        if not self.is_probe:
            return
        self.is_probe = False
        try:
            self._models.accept(self._claim)
        except StoreUnavailable as exc:
            log.warning("model %s: not reported as accepted: %s", self._claim.job.model, exc)
            return
        self._reopening.now()

    def refused(
        self,
        reason: str,
        *,
        status: int,
        retry_after_s: float | None,
        answered_s: float | None,
        has_failed: bool = False,
    ) -> Refusal | None:
        """Report a refusal; None if Redis did not take the report."""
        return self._report(reason, "failed" if has_failed else "refused", status, retry_after_s, answered_s)

    def suspected(self, reason: str, *, status: int) -> None:
        """Close the model for a moment: calls of several jobs failed in a row."""
        self._report(reason, "suspected", status)

    def exhausted(self, reason: str, *, reset_s: float) -> None:
        """Close the model for ``reset_s``: the upstream has no capacity left."""
        self._report(reason, "exhausted", 200, reset_s)

    def _report(
        self,
        reason: str,
        kind: RefusalKind,
        status: int,
        retry_after_s: float | None = None,
        answered_s: float | None = None,
    ) -> Refusal | None:
        try:
            refusal = self._models.refuse(
                self._claim, reason, kind=kind, status=status, retry_after_s=retry_after_s, answered_s=answered_s
            )
        except StoreUnavailable as exc:
            log.warning("model %s: refusal not reported: %s", self._claim.job.model, exc)
            return None
        self._reopening.at(self._claim.job.model, refusal.retry_at, refusal.wait_s)
        return refusal
