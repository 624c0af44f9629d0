"""What a bench found: for each workload and subject the runs, or why there are none."""

from __future__ import annotations

import os
import platform
import shutil
import statistics
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.measure import Run
from bench.workloads import Workload


@dataclass
class Row:
    """One subject at one workload."""

    subject: str
    runs: list[Run] = field(default_factory=list)
    skipped: str = ""

    def median(self, name: str) -> float | None:
        """The median over the runs of a figure, if they have it."""
        values = self.values(name)
        return statistics.median(values) if values else None

    def values(self, name: str) -> list[float]:
        """A figure of every run that has it."""
        return [run.figures[name] for run in self.runs if name in run.figures]

    def as_json(self) -> dict[str, Any]:
        """Every run, and what they come to: of each number the median, the least and the most."""
        kinds = ("figures", "cpu_us", "pss_kb", "busy")
        return {**asdict(self), "summary": {kind: summary([getattr(run, kind) for run in self.runs]) for kind in kinds}}

    def cpu_us(self, begins: str) -> float | None:
        """Median CPU per token of the processes whose name begins so, together."""
        sums = [[us for name, us in run.cpu_us.items() if name.startswith(begins)] for run in self.runs]
        return statistics.median(map(sum, sums)) if any(sums) else None

    def all_us(self) -> float | None:
        """Median CPU per token of everything but the load generator."""
        sums = [[us for name, us in run.cpu_us.items() if name != "load"] for run in self.runs]
        return statistics.median(map(sum, sums)) if any(sums) else None

    def producer_us(self) -> float | None:
        """Median CPU per token of everything that is neither web nor Redis nor load generator."""
        others = ("web", "redis", "load")
        sums = [[us for name, us in run.cpu_us.items() if not name.startswith(others)] for run in self.runs]
        return statistics.median(map(sum, sums)) if any(sums) else None

    def pss_mb(self) -> float | None:
        """Median memory of all its processes together, at the end of the load."""
        sums = [sum(run.pss_kb.values()) / 1024 for run in self.runs if run.pss_kb]
        return statistics.median(sums) if sums else None


def summary(runs: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Of each number that any run has: median, least and most."""
    names = dict.fromkeys(name for run in runs for name in run)
    found = {name: [run[name] for run in runs if name in run] for name in names}
    return {
        name: {"median": statistics.median(values), "least": min(values), "most": max(values)}
        for name, values in found.items()
    }


@dataclass
class Results:
    """All of it. ``lacks`` says of each subject what it does not do."""

    machine: str
    generator: str
    began_at: str
    lacks: Mapping[str, str]
    rows: list[tuple[Workload, list[Row]]] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Everything, run by run."""
        return {
            "machine": self.machine,
            "generator": self.generator,
            "began_at": self.began_at,
            "lacks": dict(self.lacks),
            "workloads": [
                {**asdict(workload), "title": workload.title, "subjects": [row.as_json() for row in rows]}
                for workload, rows in self.rows
            ],
        }


def machine() -> str:
    """What it ran on."""
    model = ""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = f", {line.partition(':')[2].strip()}"
            break
    cores = f"{os.cpu_count()} cores shared by everything"
    return f"{platform.machine()}{model}, {cores}, Linux {platform.release()}, Python {platform.python_version()}"


def began_at() -> str:
    """Now, and how busy the machine was before anything was started: figures of a busy one are worth little."""
    load = os.getloadavg()[0]
    return f"{time.strftime('%Y-%m-%d %H:%M:%S UTC', time.gmtime())}, load average {load:.1f}"


def commit() -> str:
    """The checkout's commit, or nothing."""
    if not shutil.which("git"):
        return ""
    found = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return found.stdout.strip()
