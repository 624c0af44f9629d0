"""Which figures of a kind of workload are shown, where a row is a list of figures rather than a line of a table."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from bench.results import Row
from bench.workloads import Kind


class Shown(NamedTuple):
    """One figure: its key in ``Run.figures``, what it is, digits behind the point."""

    name: str
    label: str
    digits: int = 0


_LATENCIES = (Shown("p50_ms", "p50 ms", 2), Shown("p99_ms", "p99 ms", 2))
_TROUBLE = (Shown("lost", "lost"), Shown("errors", "errors"))
_FIGURES: dict[Kind, Sequence[Shown]] = {
    Kind.FIRST_TOKEN: (*_LATENCIES, *_TROUBLE),
    Kind.SUBMITS: (Shown("per_second", "submits/s"), Shown("errors", "errors")),
    Kind.FLAT_OUT: (
        Shown("per_second", "tokens/s"),
        Shown("entries_per_token", "entries a token", 3),
        Shown("kept_bytes_per_token", "bytes kept a token", 1),
    ),
    Kind.RESUMES: (
        Shown("per_second", "entries/s"),
        Shown("last_served_s", "until the last was served, s", 2),
        Shown("served_p50_ms", "until one was served, p50 ms"),
        Shown("first_p99_ms", "until its first token, p99 ms"),
        Shown("mb_per_s", "MB/s"),
        Shown("entries", "entries read"),
        Shown("turned_away", "told to come again, times"),
        Shown("not_served", "readers not served"),
        Shown("errors", "errors"),
    ),
    Kind.POLLS: (
        Shown("per_second", "requests/s"),
        Shown("floor_per_second", "requests/s, bare Flask"),
        Shown("ratio", "ratio", 2),
        Shown("p50_ms", "p50 ms", 2),
        Shown("p99_ms", "p99 ms", 2),
        Shown("floor_p99_ms", "p99 ms, bare Flask", 2),
        Shown("answer_bytes", "bytes of the whole answer"),
        Shown("errors", "errors"),
    ),
    Kind.BURSTS: (
        Shown("calm_p50_ms", "p50 ms without bursts", 2),
        Shown("p50_ms", "p50 ms with bursts", 2),
        Shown("calm_p99_ms", "p99 ms without bursts", 2),
        Shown("p99_ms", "p99 ms with bursts", 2),
        Shown("ratio", "ratio of the p99", 2),
        Shown("short_jobs", "short jobs"),
        *_TROUBLE,
    ),
    Kind.UPSTREAM: (*_LATENCIES, Shown("tokens", "tokens"), *_TROUBLE),
    Kind.REDIS_COST: (
        Shown("kept_bytes_per_token", "bytes kept a token", 1),
        Shown("kept_bytes_per_token_coalesced", "bytes kept a token, coalesced", 1),
        *(
            Shown(f"{phase}_{name}", f"{label}, {said}", digits)
            for phase, said in (("paced", "paced"), ("flat", "flat out"), ("coalesced", "coalesced"))
            for name, label, digits in (
                ("cpu_us", "µs of CPU a token", 1),
                ("aof_bytes", "bytes of AOF a token", 1),
                ("entries_per_token", "entries a token", 3),
                ("job_kb", "KB kept a job (its keys)", 1),
                ("grown_kb", "KB kept a job (growth)", 1),
            )
        ),
    ),
    Kind.HIGHEST: (
        Shown("per_second", "tokens/s held"),
        Shown("jobs", "jobs"),
        *_LATENCIES,
        Shown("steps", "rates tried"),
    ),
}
_CPU = ("web", "worker", "redis", "stand-in", "floor", "load")
_WIDTH = 34


def lines(kind: Kind, rows: Sequence[Row]) -> Iterator[str]:
    """Median, and the least and the most of the runs, of every figure; then CPU."""
    for row in rows:
        for shown in _FIGURES[kind]:
            if row.values(shown.name):
                yield f"  {row.subject:18}{shown.label:{_WIDTH}}{_spread(row.values(shown.name), shown.digits)}"
        used = [(name, row.cpu_us(name)) for name in _CPU]
        if any(us is not None for _, us in used):
            each = ", ".join(f"{name} {us:.1f}" for name, us in used if us is not None)
            yield f"  {row.subject:18}{'µs of CPU each':{_WIDTH}}{each}"
        for sample in {run.sample for run in row.runs if run.sample}:
            yield f"  {row.subject:18}the first stream that was not whole ended: …{sample[-160:]}"


def _spread(values: Sequence[float], digits: int) -> str:
    said = f"{statistics.median(values):>12,.{digits}f}"
    return said if len(values) == 1 else f"{said}   ({min(values):,.{digits}f} to {max(values):,.{digits}f})"


def kinds() -> Sequence[Kind]:
    """Those that are shown so."""
    return tuple(_FIGURES)
