"""What is done for each kind of workload: one run of it, on processes that are there already."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bench import bursts, highest, measure, polls, redis_cost, resumes, spool_only, upstream
from bench.measure import Run
from bench.workloads import Kind, Workload

RUNS: dict[Kind, Callable[[Any, Any, Workload], Run]] = {
    Kind.PACED: measure.paced,
    Kind.IDLE: measure.idle,
    Kind.FIRST_TOKEN: spool_only.first_token,
    Kind.SUBMITS: spool_only.submits,
    Kind.FLAT_OUT: spool_only.flat_out,
    Kind.RESUMES: resumes.resumes,
    Kind.POLLS: polls.polls,
    Kind.BURSTS: bursts.bursts,
    Kind.UPSTREAM: upstream.upstream,
    Kind.REDIS_COST: redis_cost.redis_cost,
    Kind.HIGHEST: highest.highest,
}
"""Called with the subject, its Redis and the workload."""
