"""Acceptance of a job: write it, count it, wake a worker."""

from __future__ import annotations

from spool.errors import OutcomeUnknown
from spool.fail_points import reach
from spool.jobs.job import NewJob
from spool.jobs.submission import Submitted
from web.metrics import SUBMITTED
from web.services import State


def accept(here: State, new: NewJob) -> Submitted:
    """Write the job and ring the bell. Raises ``StoreFull``, ``StoreUnfit``, ``StoreUnavailable`` and the errors of
    ``JobStore.submit``; ``OutcomeUnknown`` carries the job's id if the write's answer was lost."""
    here.refuse_when_full()
    reach("submit.before")
    try:
        submitted = here.store.submit(new, max_queued=here.settings.max_queued, limits=here.limits)
        reach("submit.written")
    except OutcomeUnknown as exc:
        exc.job_id = new.id
        raise
    if not submitted.replayed:
        SUBMITTED.labels(new.surface).inc()
        here.bell.ring(new.id)
        here.bell.let_ring()
    reach("submit.rung")
    return submitted
