"""What a schedule did and found, and several of them together."""

from __future__ import annotations

import json
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from tests.faults.disturber import Loss


@dataclass
class Outcome:
    """One schedule, or several of them together."""

    jobs: int = 0
    entries: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    readers: Counter[str] = field(default_factory=Counter)
    reconnects: int = 0
    attempts: Counter[str] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)
    recoveries: list[tuple[str, float]] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)

    def add(self, other: Outcome) -> None:
        """Sum them up."""
        for name in ("jobs", "entries", "reconnects"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("ends", "readers", "attempts", "events"):
            getattr(self, name).update(getattr(other, name))
        self.recoveries += other.recoveries
        self.violations += other.violations

    def __str__(self) -> str:
        lines = [
            f"jobs {self.jobs} ({counts(self.ends)}), entries {self.entries}",
            f"readers {sum(self.readers.values())} ({counts(self.readers)}), reconnects {self.reconnects}",
            f"later attempts: {counts(self.attempts)}",
            f"events: {counts(self.events)}",
        ]
        for kind in sorted({kind for kind, _ in self.recoveries}):
            took = sorted(s for of, s in self.recoveries if of == kind)
            lines.append(
                f"next attempt after {kind}: p50 {statistics.median(took):.1f} s, max {took[-1]:.1f} s, n {len(took)}"
            )
        return "\n".join([*lines, f"violations {len(self.violations)}"])


def counts(counter: Counter[str]) -> str:
    """``name count, …``"""
    return ", ".join(f"{name} {count}" for name, count in sorted(counter.items())) or "none"


def recoveries(job: str, log: Sequence[tuple[int, bytes]], losses: Sequence[Loss]) -> list[tuple[str, float]]:
    """How long after the loss of each worker of this job its next attempt began."""
    found = []
    for loss in losses:
        if loss.job == job:
            later = [entry for _, raw in log if (entry := json.loads(raw)).get("attempt", 0) > loss.attempt]
            if later:
                found.append((loss.kind, datetime.fromisoformat(later[0]["at"]).timestamp() - loss.at))
    return found
