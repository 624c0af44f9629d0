"""The results as tables for a terminal. Medians over the runs; with several, the least and the most p99 behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from bench import shown
from bench.results import Results, Row, summary
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
        f"  {'':{_NAME}}{'p50 ms':>9}{'of runs':>15}{'p99 ms':>9}{'of runs':>15}{'max ms':>9}{'Spool/this':>15}"
        f"{'made/s':>9}{'read/s':>9}{'lost':>7}{'errors':>7}{'web':>7}{'prod.':>7}{'redis':>7}{'all':>7}{'load':>7}"
    )
    spool = next((row for row in rows if row.subject == "spool"), None)
    for row in rows:
        cells = [
            cell for name in ("p50_ms", "p99_ms") for cell in (_number(row.median(name), 9, 2), _spread(row, name))
        ]
        cells.append(_number(row.median("max_ms"), 9, 1))
        cells.append(f"{_ratios(spool, row):>15}")
        cells += [_number(row.median(name), 9) for name in ("produced_rate", "delivered_rate")]
        cells += [_number(sum(row.values(name)), 7) for name in ("lost", "errors")]
        used = (row.cpu_us("web"), row.producer_us(), row.cpu_us("redis"), row.all_us(), row.cpu_us("load"))
        cells += [_number(us, 7, 1) for us in used]
        yield f"  {row.subject:{_NAME}}{''.join(cells)}"
        yield f"  {'':{_NAME}}{_processes(row, workload)}"
        for sample in {run.sample for run in row.runs if run.sample}:
            yield f"  {'':{_NAME}}  the first stream that was not whole ended: …{sample[-160:]}"
    offered = f"{workload.jobs * workload.rate:,.0f} tokens/s to be made, {workload.offered:,.0f} to be read"
    yield f"  offered: {offered}. Lost and errors: of all runs together."
    yield "  From web to load: µs of CPU a token, which is seconds a million; all: without the load generator"


def _processes(row: Row, workload: Workload) -> str:
    """How busy each process was, and its share of memory; a process at 100 % of a core is what limits the rate."""
    busy = summary([run.busy for run in row.runs])
    pss = summary([run.pss_kb for run in row.runs])
    parts = []
    if busy:
        parts.append("% of a core: " + ", ".join(f"{name} {value['median']:.0f}" for name, value in busy.items()))
    if pss:
        each = ", ".join(f"{name} {value['median'] / workload.connections:.1f}" for name, value in pss.items())
        parts.append(f"PSS: {_number(row.pss_mb(), 1)} MB, in KB a stream: {each}")
    while_due = row.median("us_while_due")
    if while_due is not None:
        parts.append(f"{while_due:.1f} µs of CPU a token while tokens were due")
    requests = row.median("requests_rate")
    if requests is not None and workload.transport == "long-polling":
        parts.append(f"{requests:,.0f} requests/s")
    late_s = max(row.values("late_start_s"), default=0.0)
    if late_s > 0:
        parts.append(f"began {late_s:.1f} s late")
    return "; ".join(parts)


def _spread(row: Row, name: str) -> str:
    values = row.values(name)
    said = f"{_short(min(values))} to {_short(max(values))}" if len(values) > 1 else ""
    return f"{said:>15}"


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
    spool = next((row.median("idle_kb") for row in rows if row.subject == "spool"), None)
    for row in rows:
        kb = row.median("idle_kb")
        each = ", ".join(f"{name} {of['median']:.1f}" for name, of in summary([run.pss_kb for run in row.runs]).items())
        ratio = f", Spool/this {_short(spool / kb)}" if spool and kb and row.subject != "spool" else ""
        spread = _spread(row, "idle_kb").strip()
        yield (
            f"  {row.subject:{_NAME}}{_number(kb, 9, 1)} KB a stream{f' ({spread})' if spread else ''}"
            f"{ratio} (PSS: {each})"
        )


def _short(value: float) -> str:
    """Two or three digits that count."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}" if value >= 10 else f"{value:.2g}"


def _number(value: float | None, width: int, digits: int = 0) -> str:
    return f"{'-':>{width}}" if value is None else f"{value:>{width},.{digits}f}"


_FORMS: dict[Kind, Callable[[Workload, Sequence[Row]], Iterator[str]]] = {
    kind: partial(_listed, kind) for kind in shown.kinds()
} | {Kind.PACED: _paced, Kind.IDLE: _idle}
