"""The facts of a model's queue, and the number of jobs that would begin before one of them, if nothing changed.

A claim takes the flow with the smallest virtual time, which then grows by what the job is expected to use
(``lua/lib/fair.lua``). So a job begins when its flow has reached a virtual time, and every other flow has begun as many
jobs before as fit below that.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

VIRTUAL_AT_MOST = 1e15
RUN_MS_AT_MOST = 1_000_000_000
"""The longest average that ``lua/lib/job.lua`` keeps."""
BATCH_EVERY = 20
"""While both classes wait, one claim in so many is a batch job's."""


@dataclass(frozen=True, slots=True)
class Flow:
    """A flow that waits for the model: its virtual time, its waiting jobs, and the virtual time that each takes."""

    here: float
    jobs: int
    step: float


@dataclass(frozen=True, slots=True)
class Flows:
    """The waiting flows of one class: their number, and the first ones by virtual time, by name."""

    total: int = 0
    first: Mapping[str, Flow] = field(default_factory=dict)

    @property
    def jobs(self) -> int:
        """The waiting jobs of the first flows, and one for each other flow."""
        return sum([flow.jobs for flow in self.first.values()]) + self.total - len(self.first)

    def before(self, name: str, here: float, own: int) -> int:
        """The jobs that begin before one with ``own`` jobs of its flow before it; the flow is at ``here``."""
        flow = self.first.get(name)
        step = flow.step if flow else self._usual_step()
        until = here + own * step
        others = [_begun(other, until, is_first=key < name) for key, other in self.first.items() if key != name]
        # Of the other flows it is only known that there are so many; about half of them are before it.
        unknown = 0 if until <= self._last() else (self.total - len(self.first)) // 2
        return own + sum(others) + unknown

    @property
    def is_complete(self) -> bool:
        """Whether all flows are known."""
        return self.total <= len(self.first)

    def place_of_new(self, name: str) -> tuple[float, int]:
        """The virtual time of a flow, and the number of its jobs, for a job that has just joined it. A flow that begins
        to wait starts with the one that is served next."""
        flow = self.first.get(name)
        if flow:
            return flow.here, flow.jobs
        return min((other.here for other in self.first.values()), default=0.0), 0

    def _usual_step(self) -> float:
        steps = [flow.step for flow in self.first.values()]
        return sum(steps) / len(steps) if steps else 1.0

    def _last(self) -> float:
        return max((flow.here for flow in self.first.values()), default=math.inf)


def _begun(flow: Flow, until: float, *, is_first: bool) -> int:
    """The jobs of a flow that begin before the virtual time ``until``, or at it if ``is_first``."""
    steps = (until - flow.here) / flow.step
    count = math.floor(steps) + 1 if is_first else math.ceil(steps)
    return max(0, min(flow.jobs, count))


@dataclass(frozen=True, slots=True)
class QueueFacts:
    """A model's queue ``at`` a time (seconds since the epoch): its ``waiting`` and ``running`` jobs, the live
    ``workers``, the time for which a job has lately run (None if unknown), and its flows by class."""

    at: float
    waiting: int
    running: int
    workers: int
    run_s: float | None = None
    retries: int = 0
    interactive: Flows = Flows()
    batch: Flows = Flows()

    def position(self, flow: str, here: float, own: int) -> tuple[int, bool]:
        """The number of jobs that begin before one with ``own`` jobs of its flow before it, and whether it is exact.
        The flow '' is that of retries."""
        if not flow:
            return own, True
        if flow.startswith("batch:"):
            before = self.batch.before(flow, here, own)
            others = min(self.interactive.jobs, (BATCH_EVERY - 1) * (before + 1))
            return self.retries + before + others, self.batch.is_complete and self.interactive.is_complete
        before = self.interactive.before(flow, here, own)
        others = min(self.batch.jobs, before // (BATCH_EVERY - 1))
        return self.retries + before + others, self.interactive.is_complete


def read_facts(reply: Sequence[Any]) -> QueueFacts:
    """Decode the facts in a reply of ``look_queue.lua``."""
    now_ms, waiting, running, workers, run_ms, retries, interactive, batch = reply
    run_s = min(int(run_ms[:18]), RUN_MS_AT_MOST) / 1000 if run_ms is not None and run_ms.isdigit() else None
    return QueueFacts(now_ms / 1000, waiting, running, workers, run_s, retries, _flows(interactive), _flows(batch))


def virtual_time(raw: bytes) -> float:
    """A virtual time as Redis stores it. Damaged ones are bounded as the scripts do it, since one flow's must not keep
    the positions of all others from being computed."""
    value = float(raw)
    return 0.0 if math.isnan(value) else min(max(value, 0.0), VIRTUAL_AT_MOST)


def flow_name(raw: bytes) -> str:
    """The name of a flow, as Redis stores it; it may be damaged."""
    return raw.decode(errors="replace")


def _flows(reply: Sequence[Any]) -> Flows:
    total, *values = reply
    first = {
        flow_name(name): Flow(virtual_time(here), jobs, max(1.0, virtual_time(step)))
        for name, here, jobs, step in zip(values[::4], values[1::4], values[2::4], values[3::4], strict=True)
    }
    return Flows(total, first)
