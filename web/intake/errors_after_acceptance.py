"""Errors that occur after a job was accepted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from flask import request

from spool.errors import Draining, LimitExceeded, StoreUnavailable
from spool.jobs.job import Job
from web.problems import problem_of


@contextmanager
def accepted(job: Job, answer_at: str) -> Iterator[dict[str, str]]:
    """Translate errors that occur after the job was accepted: they name the job, and forbid an SDK's retry without an
    Idempotency-Key, which would submit it twice. ``answer_at`` is the path of its answer. Yields the headers that name
    the job. Raises ``Problem``."""
    headers = {"Location": f"/jobs/{job.id}", "X-Spool-Job": job.id}
    try:
        yield headers
    except (Draining, LimitExceeded, StoreUnavailable) as exc:
        problem = problem_of(exc)
        problem.detail += f"; the job continues, read its answer with GET {answer_at}"
        problem.headers.update(headers)
        if "Idempotency-Key" not in request.headers:
            problem.headers["x-should-retry"] = "false"
        raise problem from exc
