"""The results as tables for a terminal. Medians over the runs; with several, the least and the most p99 behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from bench import shown
from bench.results import Results, Row
from bench.workloads import Kind, Workload

_NAME = 18


def table(results: Results) -> str:
    """All workloads, one table each."""
    lines = [results.machine, results.began_at, results.generator, ""]
    for workload, rows in results.rows:
        runs = f", {workload.runs} runs" if workload.runs > 1 else ""
        measured = [row for row in rows if not row.skipped]
        lines += [f"{workload.name}: {workload.title}{runs}", *_FORMS[workload.kind](workload, measured)]
        lines += [*(f"  {row.subject:{_NAME}}  skipped: {row.skipped}" for row in rows if row.skipped), ""]
    said = [f"{name}: {what}" for name, what in results.lacks.items() if what]
    return "\n".join([*lines, *said])


def _paced(workload: Workload, rows: Sequence[Row]) -> Iterator[str]:
    yield (
        f"  {'':{_NAME}}{'p50 ms':>9}{'p99 ms':>9}{'p99 of runs':>18}{'max ms':>9}{'Spool/this':>15}"
        f"{'made/s':>9}{'read/s':>9}{'lost':>8}{'errors':>8}{'web':>7}{'prod.':>7}{'redis':>7}{'load':>7}{'PSS MB':>9}"
    )
    spool = next((row for row in rows if row.subject == "spool"), None)
    for row in rows:
        p99 = row.values("p99_ms")
        cells = [_number(row.median("p50_ms"), 9, 2), _number(row.median("p99_ms"), 9, 2)]
        cells.append(f"{f'{_short(min(p99))} to {_short(max(p99))}' if len(p99) > 1 else '':>18}")
        cells.append(_number(row.median("max_ms"), 9, 1))
        cells.append(f"{_ratios(spool, row):>15}")
        cells += [_number(row.median(name), 9) for name in ("produced_rate", "delivered_rate")]
        cells += [_number(sum(row.values(name)), 8) for name in ("lost", "errors")]
        cells += [_number(us, 7, 1) for us in (row.cpu_us("web"), row.producer_us())]
        cells += [_number(row.cpu_us(name), 7, 1) for name in ("redis", "load")]
        cells.append(_number(row.pss_mb(), 9, 0))
        late_s = max(row.values("late_start_s"), default=0.0)
        late = f"  began {late_s:.1f} s late" if late_s > 0 else ""
        yield f"  {row.subject:{_NAME}}{''.join(cells)}{late}"
        for sample in {run.sample for run in row.runs if run.sample}:
            yield f"  {'':{_NAME}}  the first stream that was not whole ended: …{sample[-160:]}"
    offered = f"{workload.jobs * workload.rate:,.0f} tokens/s to be made, {workload.offered:,.0f} to be read"
    yield f"  offered: {offered}. Lost and errors: of all runs together. From web to load: µs of CPU a token"


def _ratios(spool: Row | None, row: Row) -> str:
    if spool is None or spool is row:
        return ""
    parts = []
    for name in ("p50_ms", "p99_ms"):
        ours, theirs = spool.median(name), row.median(name)
        parts.append(_short(ours / theirs) if ours and theirs else "-")
    return " / ".join(parts)


def _listed(kind: Kind, _workload: Workload, rows: Sequence[Row]) -> Iterator[str]:
    return shown.lines(kind, rows)


def _idle(_workload: Workload, rows: Sequence[Row]) -> Iterator[str]:
    for row in rows:
        each = ", ".join(f"{name} {kb:.1f}" for name, kb in row.runs[0].pss_kb.items())
        yield f"  {row.subject:{_NAME}}{_number(row.median('idle_kb'), 9, 1)} KB a stream (PSS: {each})"


def _short(value: float) -> str:
    """Two or three digits that count."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}" if value >= 10 else f"{value:.2g}"


def _number(value: float | None, width: int, digits: int = 0) -> str:
    return f"{'-':>{width}}" if value is None else f"{value:>{width},.{digits}f}"


_FORMS: dict[Kind, Callable[[Workload, Sequence[Row]], Iterator[str]]] = {
    kind: partial(_listed, kind) for kind in shown.kinds()
} | {Kind.PACED: _paced, Kind.IDLE: _idle}
