"""The workloads that there are, by profile."""

from __future__ import annotations

from dataclasses import replace

from bench.workloads import Kind, Workload

SHORT = (
    Workload("100x50", jobs=100, rate=50, seconds=6, runs=3),
    Workload("500x20", jobs=500, rate=20, seconds=5),
    Workload("fan-out", jobs=1, readers=500, rate=20, seconds=5, webs=2),
    Workload("idle", Kind.IDLE, readers=1000),
)

FULL = (
    Workload("100x50", jobs=100, rate=50, runs=5),
    Workload("500x20", jobs=500, rate=20, runs=5),
    Workload("1000x20", jobs=1000, rate=20, runs=5),
    Workload("1000x40", jobs=1000, rate=40, webs=2, runs=5),
    Workload("2000x40", jobs=2000, rate=40, webs=2, runs=3),
    Workload("fan-out", jobs=1, readers=2000, rate=20, webs=2, runs=5),
    Workload("fan-out-ndjson", jobs=1, readers=2000, rate=20, webs=2, transport="ndjson", runs=5),
    # The same 10,000 tokens a second in all, from few jobs and from many: what a token costs should not change.
    Workload("100x100", jobs=100, rate=100, runs=5),
    Workload("2000x5", jobs=2000, rate=5, runs=5),
    Workload("100x50-ndjson", jobs=100, rate=50, transport="ndjson", runs=5),
    Workload("1000x20-ndjson", jobs=1000, rate=20, transport="ndjson", runs=5),
    Workload("1000x20-polling", jobs=1000, rate=20, transport="long-polling", runs=5),
    Workload("100x50-websocket", jobs=100, rate=50, transport="websocket", runs=5),
    Workload("1000x20-websocket", jobs=1000, rate=20, transport="websocket", runs=5),
    Workload("idle", Kind.IDLE, readers=4000),
    Workload("first-token-20", Kind.FIRST_TOKEN, rate=20, runs=5),
    Workload("first-token-100", Kind.FIRST_TOKEN, rate=100, runs=5),
    Workload("submits", Kind.SUBMITS, runs=5),
    Workload("flat-out", Kind.FLAT_OUT, jobs=1000, rate=20, runs=5),
    Workload("resumes", Kind.RESUMES, jobs=50, readers=100, rate=50, runs=5),
    Workload("polls-304", Kind.POLLS, status=304, seconds=12, runs=5),
    Workload("polls-200", Kind.POLLS, seconds=12, runs=5),
    Workload("bursts", Kind.BURSTS, jobs=50, rate=20, seconds=70, runs=5),
    Workload("upstream", Kind.UPSTREAM, jobs=200, rate=50, runs=5),
    Workload("redis-cost", Kind.REDIS_COST, jobs=100, rate=50, seconds=20, runs=5),
    Workload("growth-1", jobs=500, rate=40, runs=5, peers=False),
    Workload("growth-2", jobs=500, rate=40, webs=2, runs=5, peers=False),
    Workload("growth-4", jobs=500, rate=40, webs=4, runs=5, peers=False),
    Workload("growth-2-workers", jobs=500, rate=40, webs=2, workers=2, runs=5, peers=False),
    Workload("growth-4-workers", jobs=500, rate=40, webs=2, workers=4, runs=5, peers=False),
    Workload("highest", Kind.HIGHEST, jobs=1000, rate=40, seconds=8, webs=2, runs=3, runs_at_most=3),
)

# What takes minutes a run is shorter, or done once; memory hardly differs from run to run.
_SECONDS = {Kind.PACED: 6.0, Kind.BURSTS: 36.0}
_RUNS_AT_MOST = {Kind.HIGHEST: 1, Kind.IDLE: 2}
_COMPARED = frozenset({"100x50", "500x20", "1000x20", "1000x40", "fan-out", "idle"})
TABLE = tuple(
    replace(
        workload,
        seconds=min(workload.seconds, _SECONDS.get(workload.kind, workload.seconds)),
        runs_at_most=_RUNS_AT_MOST.get(workload.kind, workload.runs_at_most),
        peers=workload.name in _COMPARED,
    )
    for workload in FULL
)
"""Everything once, peers only where they are what matters: under an hour with three runs."""

PROFILES = {"short": SHORT, "full": FULL, "table": TABLE}
