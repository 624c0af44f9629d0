"""What each job and its log must be, told without Redis and without the scripts: a few plain rules in Python.

The ledger follows what Redis holds, and goes back in time with it. What workers know and what readers have seen does
not: that is in ``tests.job_model.hands``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from spool.jobs.entries import Entry, Kind
from spool.jobs.job import ENDED, TRANSITIONS, NewJob, OnDisconnect, OnWorkerLoss, Priority, Status
from spool.models.model import Model

JUMP = 100_000
JUMP_AT_LEAST = 500_000
LOST_HISTORY = "redis_lost_history"
BATCH_JOBS = 3
"""The jobs of the batch. It expires a while after the last one has ended."""


@dataclass
class Line:
    """One entry of a log. ``raw`` are its bytes where its worker made it; else ``fields`` are those that it must have,
    and ``raw`` is what was found the first time."""

    id: int
    kind: Kind
    fields: dict[str, Any]
    raw: bytes | None = None


@dataclass
class ModelJob:
    """One job."""

    new: NewJob
    place: int
    """In the order of submit."""
    status: Status = Status.QUEUED
    lines: list[Line] = field(default_factory=list)
    last: int = 0
    attempt: int = 0
    begun: list[tuple[int, int]] = field(default_factory=list)
    """Each attempt's number and first id."""
    text_from: int = 0
    """Id of the entry from which on text counts."""
    losses: int = 0
    deaths: int = 0
    fence: str = ""
    reason: str = ""
    """Why the next attempt is not the first one."""
    text: str = ""
    plain: bool = True
    cancelling: bool = False
    overdue: bool = False
    start_overdue: bool = False
    watched: bool = False
    unread: bool = False
    lease_out: bool = False
    suspect: bool = False
    """Redis has lost history since the log was last known to be whole."""
    torn: bool = False
    """The next attempt has to jump."""
    record_broken: bool = False
    log_broken: bool = False
    gap_below: int = 1
    """The log begins there: something else had stood in its place."""
    forgotten: bool = False
    """Deleted, or expired: only its tombstone is there."""
    listed: bool = True
    """Whether its owner's list still has it."""

    @property
    def id(self) -> str:
        return self.new.id

    @property
    def ended(self) -> bool:
        return self.status in ENDED

    @property
    def late(self) -> str:
        """The code of the error with which a claim or the keeper ends it, because its time is over; else empty."""
        if self.overdue:
            return "deadline_exceeded"
        return "start_timeout" if self.start_overdue else ""

    @property
    def apart(self) -> bool:
        """Whether it has to run in a process of its own."""
        return self.deaths >= 2

    @property
    def order(self) -> tuple[int, int]:
        """Where it stands among queued jobs."""
        rank = 0 if self.attempt else {Priority.INTERACTIVE: 1, Priority.BATCH: 2}[self.new.priority]
        return rank, self.place

    def move(self, to: Status) -> None:
        """Change the state, along the one table."""
        assert to in TRANSITIONS[self.status], f"{self.status} to {to}"
        self.status = to

    def write(self, kind: Kind, fields: dict[str, Any], raw: bytes | None = None, at: int | None = None) -> None:
        """One more entry."""
        if self.log_broken:
            # What stood there was no log any more; a script that has to write makes a new one.
            self.log_broken, self.lines, self.gap_below = False, [], at or self.last + 1
        self.last = at or self.last + 1
        self.lines.append(Line(self.last, kind, fields, raw))

    def begin(self, fence: str, kind: Kind, raw: bytes, at: int) -> None:
        """An attempt begins with such an entry."""
        self.move(Status.RUNNING)
        self.attempt += 1
        self.fence = fence
        self.begun.append((self.attempt, at))
        self.suspect = self.torn = self.lease_out = self.start_overdue = False
        if kind is not Kind.CONTINUED:
            self.text, self.plain, self.text_from = "", True, at
        self.write(kind, {}, raw, at)

    def opening(self) -> tuple[Kind, dict[str, Any]]:
        """How the next attempt begins, but for a jump."""
        if self.attempt == 0:
            return Kind.STARTED, {"attempt": 1, "model": self.new.model}
        kind = Kind.CONTINUED if self.can_continue else Kind.RESTARTED
        return kind, {"attempt": self.attempt + 1, "reason": self.reason}

    @property
    def can_continue(self) -> bool:
        """Whether another attempt could go on where the text stops."""
        return self.new.continuable and self.plain and bool(self.text) and not self.torn

    def jump(self, to: int) -> None:
        """What readers may have seen no longer counts: announced, far ahead."""
        self.check_jump(to)
        # If there was one at all, it is the attempt that nobody has heard of.
        self.attempt = max(1, self.attempt)
        self.text, self.plain, self.text_from = "", self.plain, to
        self.suspect = self.torn = False
        self.write(Kind.RESTARTED, {"attempt": self.attempt, "reason": LOST_HISTORY}, at=to)

    def check_jump(self, to: int) -> None:
        """Only what may have lost entries jumps, and to a round number that is far enough."""
        assert self.suspect, "a jump although nothing was lost"
        assert to % JUMP == 0
        assert to - self.last >= JUMP_AT_LEAST

    def take(self, entries: Sequence[bytes]) -> None:
        """Its worker's entries arrive."""
        for raw in entries:
            entry = Entry.decode(raw)
            assert entry.id == self.last + 1
            self.write(entry.kind, dict(entry.fields), raw)
            if entry.kind is Kind.TOKEN:
                self.text += entry.fields["text"]
            if entry.kind is Kind.TOOL_CALL:
                self.plain = False

    def end(self, status: Status, kind: Kind | None = None, fields: dict[str, Any] | None = None) -> None:
        """It has ended; with an entry that is not its worker's, where ``kind`` is given."""
        if kind is not None:
            self.write(kind, fields or {})
        self.move(status)
        self.watched = False

    def fail(self, code: str) -> None:
        """It ends ``failed`` from outside."""
        self.end(Status.FAILED, Kind.FAILED, {"code": code})

    def cancelled(self) -> None:
        """It ends ``cancelled``."""
        self.end(Status.CANCELLED, Kind.CANCELLED)

    def lose(self, *, costs: bool, died: bool, reason: str, max_attempts: int) -> tuple[str, str]:
        """Its worker is lost, or gives it up: what becomes of it, and the code of the error where it fails. Ending it
        is left to the caller, who sees whether the log jumps first."""
        self.losses += costs and not self.cancelling
        torn = self.suspect
        said = bool(self.text) or not self.plain
        if self.cancelling:
            return "cancelled", ""
        if self.losses >= max_attempts:
            return "failed", "attempts_exhausted"
        continues = self.new.continuable and self.plain and not torn
        if (said or torn) and self.new.on_worker_loss is OnWorkerLoss.FAIL and not continues:
            return "failed", "worker_lost" if reason == "handed_back" else reason
        self.move(Status.QUEUED)
        self.deaths += died
        self.reason, self.fence, self.torn, self.lease_out = reason, "", torn, False
        return "queued", ""


@dataclass
class Ledger:
    """All jobs of the shard, and what is kept beside them."""

    jobs: dict[str, ModelJob] = field(default_factory=dict)
    keys: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Idempotency key → job and digest of the body."""
    claims: dict[str, str] = field(default_factory=dict)
    """Fence → the job that it got."""
    submits: int = 0
    batch: list[str] = field(default_factory=list)
    batch_ended: list[str] = field(default_factory=list)

    def add(self, new: NewJob) -> ModelJob:
        """A submit is accepted."""
        self.submits += 1
        job = self.jobs[new.id] = ModelJob(new, self.submits, watched=new.on_disconnect is OnDisconnect.CANCEL)
        if new.idempotency_key:
            self.keys[new.idempotency_key] = (new.id, new.body_digest)
        if new.batch:
            self.batch.append(new.id)
        return job

    def queued(self) -> list[ModelJob]:
        """Those that wait in the common queue, in the order of claiming."""
        waiting = [job for job in self.live() if job.status is Status.QUEUED and not job.apart]
        return sorted(waiting, key=lambda job: job.order)

    def apart(self) -> list[ModelJob]:
        """Those that wait for a process of their own."""
        waiting = [job for job in self.live() if job.status is Status.QUEUED and job.apart]
        return sorted(waiting, key=lambda job: job.place)

    def live(self) -> list[ModelJob]:
        """Those whose record is there and can be read."""
        return [job for job in self.jobs.values() if not job.forgotten and not job.record_broken]

    def next(self, models: Sequence[Model], wanted: str, taken: Mapping[str, int]) -> ModelJob | None:
        """What a claim for these models must get, if the job's deadline has not passed. ``taken``: places of a model
        that are held by jobs which cannot be read."""
        running = Counter({**taken})
        running.update(job.new.model for job in self.live() if job.status is Status.RUNNING)
        room = {m.name for m in models if not m.max_running or running[m.name] < m.max_running}
        waiting = self.apart() if wanted == "apart" else self.queued()
        found = next((job for job in waiting if job.new.model in room), None)
        return None if found is not None and wanted == "retries" and not found.attempt else found
