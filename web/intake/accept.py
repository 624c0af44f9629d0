"""Acceptance of a job: write it, count it, wake a worker."""

from __future__ import annotations

from spool.errors import OutcomeUnknown
from spool.fail_points import reach
from spool.jobs.job import NewJob
from spool.jobs.submission import Submitted
from web.metrics import SUBMITTED
from web.services import State


def accept(services: State, new: NewJob) -> Submitted:
    """Write the job and ring the bell. Raises ``StoreFull``, ``StoreUnfit``, ``StoreUnavailable`` and the errors of
    ``JobStore.submit``; ``OutcomeUnknown`` carries the job's id if the write's answer was lost."""
    services.refuse_when_full()
    reach("submit.before")
    try:
        submitted = services.store.submit(new, max_queued=services.settings.max_queued, limits=services.limits)
        reach("submit.written")
    except OutcomeUnknown as exc:
        exc.job_id = new.id
        raise
    if not submitted.replayed:
        SUBMITTED.labels(new.surface).inc()
        services.bell.ring(new.id)
        services.bell.let_ring()
    reach("submit.rung")
    return submitted
