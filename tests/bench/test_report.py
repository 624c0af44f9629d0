"""What is made of several runs."""

from __future__ import annotations

from bench.measure import Run
from bench.report import table
from bench.results import Results, Row, summary
from bench.workloads import Kind, Workload


def _results(*rows: tuple[Workload, list[Row]]) -> Results:
    return Results("a machine", "a generator", "today", {}, list(rows))


def test_summary_has_median_least_and_most() -> None:
    """Of each number that any run has."""
    found = summary([{"a": 1.0}, {"a": 5.0, "b": 2.0}, {"a": 3.0}])
    assert found["a"] == {"median": 3.0, "least": 1.0, "most": 5.0}
    assert found["b"] == {"median": 2.0, "least": 2.0, "most": 2.0}


def test_table_of_a_paced_workload_compares_medians() -> None:
    """Spool's medians are divided by the peer's, and the CPU of all but the load generator is summed."""

    def row(name: str, *p99s: float) -> Row:
        runs = [
            Run({"p50_ms": p99 / 2, "p99_ms": p99}, {"web0": 20.0, "worker0": 30.0, "load": 5.0}, {"web0": 2048.0})
            for p99 in p99s
        ]
        return Row(name, runs)

    text = table(_results((Workload("100x50", runs=3), [row("spool", 2, 3, 9), row("peer", 6, 6, 7)])))
    assert "0.5 / 0.5" in text
    assert "2 to 9" in text
    assert " 50.0" in text
    assert "web0 2048.0" in text


def test_table_of_a_paced_workload_says_what_else_was_measured() -> None:
    """CPU while tokens were due, and for long polling how many requests that took."""
    run = Run({"p50_ms": 1.0, "p99_ms": 2.0, "us_while_due": 12.34, "requests_rate": 2345.6})
    polling = Workload("polling", jobs=1, transport="long-polling")
    text = table(_results((polling, [Row("spool", [run])])))
    assert "12.3 µs of CPU a token while tokens were due; 2,346 requests/s" in text


def test_table_lists_the_figures_of_other_kinds() -> None:
    """Each with its spread, and what was skipped with why."""
    runs = [Run({"per_second": value, "ratio": 0.5}, {"web0": 1.0}) for value in (1000.0, 3000.0, 2000.0)]
    polls = Workload("polls-304", Kind.POLLS, status=304, runs=3)
    text = table(
        _results((polls, [Row("spool", runs)]), (Workload("idle", Kind.IDLE), [Row("nchan", skipped="no nginx")]))
    )
    assert "2,000   (1,000 to 3,000)" in text
    assert "skipped: no nginx" in text


def test_json_has_runs_and_summary() -> None:
    """Everything run by run, with what they come to beside it."""
    document = _results((Workload("x"), [Row("spool", [Run({"p99_ms": 2.0}), Run({"p99_ms": 4.0})])])).as_json()
    row = document["workloads"][0]["subjects"][0]
    assert [run["figures"]["p99_ms"] for run in row["runs"]] == [2.0, 4.0]
    assert row["summary"]["figures"]["p99_ms"]["median"] == 3.0
