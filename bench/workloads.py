"""The workloads, as data."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What is done; ``bench.measure`` and ``bench.spool_only`` have a function for each."""

    PACED = "paced"
    """Jobs at a rate, readers on their streams: latency from when a token was due."""
    IDLE = "idle"
    """Streams on which nothing comes: memory."""
    FIRST_TOKEN = "first-token"
    """Submit and stream in one request: time to the first token."""
    SUBMITS = "submits"
    """Submits as fast as they are taken."""
    FLAT_OUT = "flat-out"
    """Jobs without pace or readers: tokens that one worker appends per second."""


SPOOL_ONLY = frozenset({Kind.FIRST_TOKEN, Kind.SUBMITS, Kind.FLAT_OUT})
"""Peers have nothing that could be asked for these."""


_IN_C = frozenset({Kind.FIRST_TOKEN})


@dataclass(frozen=True)
class Workload:
    """One row of the results. What a kind does not need stays at its default."""

    name: str
    kind: Kind = Kind.PACED
    jobs: int = 1
    rate: float = 1.0
    """Tokens per second of each job; jobs per second for ``first-token``."""
    seconds: float = 10.0
    """Length of each answer, or of the load; for ``flat-out`` only the number of tokens comes of it."""
    webs: int = 1
    readers: int = 1
    """Per job."""
    transport: str = "sse"
    runs: int = 1
    warmup_s: float = 1.0
    """Latencies of tokens due in the first second are left out: that is when every job begins."""

    @property
    def title(self) -> str:
        """For the tables."""
        webs = f", {self.webs} web processes" if self.webs > 1 else ""
        match self.kind:
            case Kind.PACED if self.readers > 1:
                return f"{self.jobs} job → {self.readers:,} {self.transport} readers × {self.rate:g} tokens/s{webs}"
            case Kind.PACED:
                return f"{self.jobs:,} jobs × {self.rate:g} tokens/s, one {self.transport} reader each{webs}"
            case Kind.IDLE:
                return f"{self.readers:,} idle SSE streams{webs}"
            case Kind.FIRST_TOKEN:
                return f"submit → first token on SSE, {self.rate:g} jobs/s"
            case Kind.SUBMITS:
                return "submits accepted per second, one web process"
            case Kind.FLAT_OUT:
                return f"{self.jobs:,} jobs flat out, {self.tokens} tokens each, one worker process, no readers"

    @property
    def needs_compiler(self) -> bool:
        """Whether only the load generator in C can do it."""
        return self.transport in ("long-polling", "websocket") or self.kind in _IN_C

    @property
    def tokens(self) -> int:
        """Of each stream."""
        return int(self.rate * self.seconds)

    @property
    def connections(self) -> int:
        """Readers in all."""
        return self.jobs * self.readers

    @property
    def lead_s(self) -> float:
        """From the first submit to the first token due: time for all submits and all connections."""
        return 1.5 + self.jobs * 0.006 + self.connections / 1500

    @property
    def offered(self) -> float:
        """Tokens per second that all readers together should get."""
        return self.connections * self.rate


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
)

PROFILES = {"short": SHORT, "full": FULL}
