"""The highest rate that is held: more and more paced jobs, until tokens are lost or come late."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace

from bench.measure import Run, paced
from bench.spool_subject import SpoolSubject
from bench.workloads import Workload
from rig.redis_server import Redis

_STEP = 200
_STEPS_AT_MOST = 10
_P99_MS = 100.0
_ENDED_WITHIN_S = 60.0


def highest(subject: SpoolSubject, redis: Redis, workload: Workload) -> Run:
    """Begins with the workload's number of jobs, and goes down if that is too much."""
    tried: list[tuple[int, bool]] = []
    held: dict[int, Run] = {}
    p99s: dict[str, float] = {}
    while len(tried) < _STEPS_AT_MOST and (jobs := next_jobs(tried, workload.jobs)):
        run = paced(subject, redis, replace(workload, jobs=jobs))
        subject.wait_until_ended(workload.seconds + _ENDED_WITHIN_S)
        tried.append((jobs, is_held(run.figures)))
        if tried[-1][1]:
            held[jobs] = run
        p99s[f"p99_ms_at_{jobs}"] = p99_ms = run.figures["p99_ms"]
        print(f"  {jobs} jobs: p99 {p99_ms:.1f} ms, {run.figures['lost']:.0f} lost", file=sys.stderr, flush=True)
    p99s["steps"] = len(tried)
    if not held:
        return Run({"per_second": 0.0, "jobs": 0.0, **p99s})
    jobs = max(held)
    best = held[jobs]
    figures = {**best.figures, "per_second": jobs * workload.rate, "jobs": float(jobs), **p99s}
    return replace(best, figures=figures)


def is_held(figures: Mapping[str, float]) -> bool:
    """Everything came, hardly late, and no job was submitted too late to show that."""
    on_time = figures["p99_ms"] < _P99_MS and figures["late_start_s"] <= 0
    return on_time and not figures["lost"] and not figures["errors"]


def next_jobs(tried: Sequence[tuple[int, bool]], first: int) -> int:
    """How many jobs to try next: up while it is held, down if not even the first were, then half a step back; 0 when
    it is known."""
    held = max((jobs for jobs, was_held in tried if was_held), default=0)
    missed = min((jobs for jobs, was_held in tried if not was_held), default=0)
    if not tried:
        return first
    if not missed:
        return held + _STEP
    if not held and missed > _STEP:
        return missed - _STEP
    return (held + missed) // 2 if missed - held == _STEP else 0
