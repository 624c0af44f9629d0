"""Errors that occur after a job was accepted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from spool.errors import Draining, LimitExceeded, StoreUnavailable
from spool.jobs.submission import Submitted
from web.contract import REPLAYED
from web.error_problems import problem_of
from web.intake.idempotency import is_safe_to_repeat


@contextmanager
def accepted(submitted: Submitted, answer_at: str) -> Iterator[dict[str, str]]:
    """Translate errors that occur after the job was accepted: they name the job, and forbid an SDK's retry that would
    submit it twice. ``answer_at`` is the path of its answer. Yields the headers that name the job, and tell whether an
    earlier request submitted it. Raises ``Problem``."""
    job_id = submitted.job.id
    headers = {"Location": f"/jobs/{job_id}", "X-Spool-Job": job_id}
    if submitted.replayed:
        headers[REPLAYED.name] = "true"
    try:
        yield headers
    except (Draining, LimitExceeded, StoreUnavailable) as exc:
        problem = problem_of(exc)
        problem.detail += f"; the job continues, read its answer with GET {answer_at}"
        problem.headers.update(headers)
        if not is_safe_to_repeat():
            problem.headers["x-should-retry"] = "false"
        raise problem from exc
