"""The place of a process in the directory of metrics, in processes of their own: the library chooses at its import."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from prometheus_client import REGISTRY, CollectorRegistry, generate_latest, multiprocess

from spool.metrics import JOBS_LOST, count_from_zero, take_place
from tests.stack import ROOT

COUNTS = """
from prometheus_client import Gauge
from spool.metrics import BELLS_DROPPED
BELLS_DROPPED.inc(3)
Gauge("spool_now", "now", multiprocess_mode="livesum").inc()
"""


def run_one(directory: Path, place: str) -> None:
    """A process that counts three bells and ends."""
    env = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(directory), "SPOOL_PROCESS_NAME": place}
    subprocess.run([sys.executable, "-c", COUNTS], cwd=ROOT, env=env, check=True)


def shown(directory: Path) -> dict[str, float]:
    """The samples of all processes."""
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry, str(directory))  # type: ignore[no-untyped-call]
    lines = (line.rsplit(" ", 1) for line in generate_latest(registry).decode().splitlines() if line[0] != "#")
    return {name: float(value) for name, value in lines}


def test_successor_goes_on(tmp_path: Path) -> None:
    """A process with the place of one that ended goes on with its counts, in its files; its gauges begin again."""
    for _ in range(2):
        run_one(tmp_path, "worker_1")
    files = set(tmp_path.iterdir())
    run_one(tmp_path, "worker_1")
    assert set(tmp_path.iterdir()) == files
    assert shown(tmp_path)["spool_bells_dropped_total"] == 9
    assert shown(tmp_path)["spool_now"] == 1


def test_processes_are_summed(tmp_path: Path) -> None:
    """Processes at different places are counted together."""
    run_one(tmp_path, "worker1")
    run_one(tmp_path, "web0")
    assert shown(tmp_path)["spool_bells_dropped_total"] == 6
    assert shown(tmp_path)["spool_now"] == 2


def test_process_without_a_place(tmp_path: Path) -> None:
    """Without a place the process id is the name."""
    run_one(tmp_path, "")
    (found,) = [path.name for path in tmp_path.glob("counter_*.db")]
    assert found.removeprefix("counter_").removesuffix(".db").isdigit()


def test_place_without_a_directory() -> None:
    """Without a directory a place does nothing: the library keeps the values in memory."""
    take_place("web0", {})
    assert b"spool_bells_dropped_total" in generate_latest()


def test_counters_that_alert_begin_at_zero() -> None:
    """A model whose jobs never failed has the counters, at 0; one that has counted keeps its count."""
    count_from_zero(["new"])
    JOBS_LOST.labels("new").inc()
    count_from_zero(["new"])
    assert REGISTRY.get_sample_value("spool_jobs_lost_leases_total", {"model": "new"}) == 1
    assert REGISTRY.get_sample_value("spool_jobs_ended_total", {"model": "new", "status": "failed"}) == 0
