"""What is done for each kind of workload: one run of it, on processes that are there already."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bench import measure, resumes, spool_only
from bench.measure import Run
from bench.workloads import Kind, Workload

RUNS: dict[Kind, Callable[[Any, Any, Workload], Run]] = {
    Kind.PACED: measure.paced,
    Kind.IDLE: measure.idle,
    Kind.FIRST_TOKEN: spool_only.first_token,
    Kind.SUBMITS: spool_only.submits,
    Kind.FLAT_OUT: spool_only.flat_out,
    Kind.RESUMES: resumes.resumes,
}
"""Called with the subject, its Redis and the workload."""
