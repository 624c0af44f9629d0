"""Everybody comes back at once: readers of jobs that have ended, each for the whole of its log."""

from __future__ import annotations

from bench.load import Asked, Readers
from bench.measure import Run, Usage, readings
from bench.spool_subject import SpoolSubject
from bench.workloads import Workload
from rig.redis_server import Redis

_WITHIN_S = 90.0
_CONNECTIONS_PER_S = 20_000
"""All of them within a moment: as after a web process was lost."""
_AGAIN_S = 2.0
"""About what ``retry:`` says where Spool cannot serve somebody at once."""
_ENDED_WITHIN_S = 60.0


def resumes(subject: SpoolSubject, redis: Redis, workload: Workload) -> Run:
    """Jobs are made, paced so that each token is an entry of its own; once they have ended the readers come."""
    urls = subject.prepare(workload.jobs, workload.rate, workload.seconds, workload.jobs * 0.006)
    subject.wait_until_ended(workload.seconds + _ENDED_WITHIN_S)
    asked = Asked(subject.marker, workload.tokens, _WITHIN_S, pace=_CONNECTIONS_PER_S, ids=True, again_s=_AGAIN_S)
    usage = Usage(subject, redis)
    with Readers(readings(subject, urls, workload), asked) as readers:
        load = readers.result()
    figures = {
        "per_second": load.entries / load.took_s if load.took_s else 0.0,
        "entries": load.entries,
        "last_served_s": load.took_s,
        "first_p50_ms": load.first_p50_ms,
        "first_p99_ms": load.first_p99_ms,
        "served_p50_ms": load.served_p50_ms,
        "served_p99_ms": load.served_p99_ms,
        "mb_per_s": load.bytes / 1e6 / load.took_s if load.took_s else 0.0,
        "turned_away": load.turned_away,
        "not_served": load.connections - load.complete,
        "errors": load.errors,
    }
    cpu_us = usage.us_per(load.entries) | {"load": load.cpu_s / max(1, load.entries) * 1e6}
    return Run(figures, cpu_us, sample=load.sample)
