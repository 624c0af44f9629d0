"""What a workload is. The ones that there are: ``bench.profiles``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum


class Kind(StrEnum):
    """What is done; ``bench.kinds`` has a function for each."""

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
    RESUMES = "resumes"
    """All readers of jobs that ended come back at once, each for all of its log."""
    POLLS = "polls"
    """A job's status as fast as it is answered, beside a bare Flask route in turns."""
    BURSTS = "bursts"
    """Long jobs with a reader each, without and then with bursts of short ones beside them."""
    UPSTREAM = "upstream"
    """Jobs whose tokens come from a model server that is none."""
    REDIS_COST = "redis-cost"
    """What a token costs Redis: CPU, memory until the job expires, bytes of its append-only file."""
    HIGHEST = "highest"
    """The most paced jobs at which no token is lost and the p99 stays low."""


SPOOL_ONLY = frozenset(Kind) - {Kind.PACED, Kind.IDLE}
"""Peers have nothing that could be asked for these."""

_IN_C = frozenset({Kind.FIRST_TOKEN, Kind.SUBMITS, Kind.RESUMES, Kind.POLLS})
_FIXED = frozenset({Kind.IDLE, Kind.FLAT_OUT, Kind.RESUMES, Kind.REDIS_COST})


@dataclass(frozen=True)
class Workload:
    """One row of the results. What a kind does not need stays at its default."""

    name: str
    kind: Kind = Kind.PACED
    jobs: int = 1
    rate: float = 1.0
    """Tokens per second of each job; jobs per second for ``first-token``."""
    seconds: float = 10.0
    """Length of each answer, or of the load; for some kinds only the number of tokens comes of it."""
    webs: int = 1
    workers: int = 1
    """Worker processes of Spool."""
    readers: int = 1
    """Per job."""
    transport: str = "sse"
    status: int = 200
    """What a poll is answered with: 304 if it says what it has."""
    runs: int = 1
    runs_at_most: int = 100
    """For what takes long, or measures many times in one run."""
    warmup_s: float = 1.0
    """Latencies of tokens due in the first second are left out: that is when every job begins."""
    peers: bool = True
    """Whether peers are asked too."""

    def changed(self, runs: int | None, seconds: float | None) -> Workload:
        """With another number of runs, and another length where it has one that may differ."""
        changed = replace(self, runs=min(runs or self.runs, self.runs_at_most))
        return replace(changed, seconds=seconds) if seconds and self.kind not in _FIXED else changed

    @property
    def groups(self) -> tuple[int, ...]:
        """How many runs on the same processes, for each time they are started: memory that one run has freed would
        serve the next one's streams."""
        return (1,) * self.runs if self.kind is Kind.IDLE else (self.runs,)

    @property
    def spool_only(self) -> bool:
        """Whether only Spool is asked."""
        return not self.peers or self.kind in SPOOL_ONLY

    @property
    def title(self) -> str:
        """For the tables."""
        return self._what + "".join(
            f", {count} {what} processes" for count, what in ((self.webs, "web"), (self.workers, "worker")) if count > 1
        )

    @property
    def _what(self) -> str:
        each = f"{self.jobs:,} jobs × {self.rate:g} tokens/s"
        match self.kind:
            case Kind.PACED if self.readers > 1:
                return f"{self.jobs} job → {self.readers:,} {self.transport} readers × {self.rate:g} tokens/s"
            case Kind.PACED:
                return f"{each}, one {self.transport} reader each"
            case Kind.IDLE:
                return f"{self.readers:,} idle SSE streams"
            case Kind.FIRST_TOKEN:
                return f"submit → first token on SSE, {self.rate:g} jobs/s"
            case Kind.SUBMITS:
                return "submits accepted per second, one web process"
            case Kind.FLAT_OUT:
                return f"{self.jobs:,} jobs flat out, {self.tokens} tokens each, one worker process, no readers"
            case Kind.RESUMES:
                return f"{self.connections:,} readers of {self.jobs} ended jobs at once, {self.tokens} tokens each"
            case Kind.POLLS:
                return f"GET /jobs/ID of 4 KB, answered with {self.status}, one web process, beside bare Flask"
            case Kind.BURSTS:
                return f"{each} with a reader each, and bursts of short jobs beside them"
            case Kind.UPSTREAM:
                return f"{each} from a model server"
            case Kind.REDIS_COST:
                return f"Redis: {self.jobs} jobs of {self.tokens:,} tokens, paced, flat out, coalesced"
            case Kind.HIGHEST:
                return f"the most jobs × {self.rate:g} tokens/s, one {self.transport} reader each, at p99 < 100 ms"

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
