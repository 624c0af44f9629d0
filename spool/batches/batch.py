"""A batch as its owner sees it: its states, and its record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import orjson

from spool.errors import BatchDamaged
from spool.jobs.job import Job, Status

_NUMBERS_BELOW = 10**15


class BatchState(StrEnum):
    """The states of a batch. ``validating`` and ``finalizing`` end within the call that begins them."""

    VALIDATING = "validating"
    IN_PROGRESS = "in_progress"
    FINALIZING = "finalizing"
    COMPLETED = "completed"
    FAILED = "failed"
    """A line was bad and ``on_bad_line`` is ``fail``: no line has run."""
    EXPIRED = "expired"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"


class OnBadLine(StrEnum):
    """What becomes of a batch with a line that cannot run."""

    REFUSE = "refuse"
    """The request is refused, and there is no batch."""
    FAIL = "fail"
    """The batch fails, with the errors of its lines."""
    SKIP = "skip"
    """The other lines run."""


class Order(StrEnum):
    """The order in which the lines of a batch begin."""

    INPUT = "input"
    PROMPT = "prompt"
    """Lines with the same system prompt together, so that an upstream's prefix cache has it."""


COUNTS = ("queued", "running", "succeeded", "failed", "cancelled", "expired")
ENDS = COUNTS[2:]
"""The counts of lines that have ended."""
FILES = ("output", "errors")
"""The files of OpenAI's that a batch has."""
WINDOW_AT_MOST_S = 30 * 86_400
DEFAULT_WINDOW_S = 7 * 86_400
_OPEN = "open"
"""The status of a batch to which lines may be added."""
LINE_TTL_S = 60
"""How long the jobs of a batch that keeps none exist after their ends."""


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """How a batch is run, and what it repeats. ``completion_window_s``: its lines must end within so many seconds."""

    on_bad_line: OnBadLine = OnBadLine.REFUSE
    completion_window_s: int | None = None
    keep_jobs: bool = False
    metadata: Mapping[str, str] = field(default_factory=dict)
    surface: str = "batches"
    endpoint: str = ""
    input_file: str = ""
    webhook: str = field(default="", repr=False)
    """The webhook of its end, as the outbox reads it; empty: none."""
    keep_s: int = 0
    """How long it is kept after its end; 0: like the line that is kept for the longest."""
    is_open: bool = False
    """Lines are added until it is sealed."""
    order: Order = Order.INPUT
    ttl_s: int = 86_400
    """How long a batch that has failed is kept; others are kept like the line that is kept for the longest."""

    def encode(self) -> dict[str, Any]:
        """The fields of the record."""
        webhook = {"webhook": self.webhook} if self.webhook else {}
        on_bad_line = {"on_bad_line": self.on_bad_line.value} if self.is_open else {}
        return {
            **webhook,
            **on_bad_line,
            "metadata": orjson.dumps(dict(self.metadata)),
            "surface": self.surface,
            "endpoint": self.endpoint,
            "input_file": self.input_file,
            "keep_jobs": int(self.keep_jobs),
            "window_s": self.completion_window_s or 0,
            "order": self.order.value,
        }


@dataclass(frozen=True, slots=True)
class Batch:
    """A snapshot of a batch's record. Times are milliseconds since the epoch, None if they have not come."""

    id: str
    owner: str
    state: BatchState
    total: int
    counts: Mapping[str, int]
    created_ms: int
    in_progress_ms: int | None = None
    finalizing_ms: int | None = None
    cancelling_ms: int | None = None
    ended_ms: int | None = None
    expires_ms: int | None = None
    completion_window_s: int | None = None
    errors: Sequence[Mapping[str, Any]] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    surface: str = "batches"
    endpoint: str = ""
    input_file: str = ""
    keep_jobs: bool = False
    is_paused: bool = False
    is_open: bool = False
    on_bad_line: OnBadLine = OnBadLine.SKIP
    """What a bad line does to the piece that it comes with."""
    webhook: str = field(default="", repr=False)
    ttl_s: int = 0
    """How long it is kept after its end."""
    sizes: Mapping[str, int] = field(default_factory=dict)
    """Bytes of its output and of its error file, once they were counted."""
    model: str = ""
    """The model of all its lines; empty if they have several."""
    input_tokens: int = 0
    output_tokens: int = 0
    last_entry: int = 0
    has_log: bool = True
    """False for a batch of an older version: its results are its jobs."""
    log_status: Status = Status.RUNNING
    is_packed: bool = False
    """Its log is packed (``spool.jobs.packing``)."""

    @property
    def is_ended(self) -> bool:
        """Whether every line has ended."""
        return self.log_status is not Status.RUNNING

    def as_log(self) -> Job:
        """What followers of its log need, in the shape of a job: its log is read like a job's."""
        return Job(
            id=self.id,
            status=self.log_status,
            owner=self.owner,
            model=self.model,
            created_at=self.created_ms / 1000,
            deadline_at=(self.expires_ms or self.created_ms) / 1000,
            last_entry=self.last_entry,
            batch=self.id,
            is_packed=self.is_packed,
        )


def decode(batch_id: str, record: Mapping[str, str]) -> Batch:
    """The batch of a record. Raises ``BatchDamaged``."""
    try:
        counts = {name: _whole(record.get(name, 0)) for name in COUNTS}
        total = _whole(record["total"])
        if "status" not in record:
            return _older(batch_id, record, counts, total)
        models = [record[name] for name in record if name.startswith("model:") and record[name]]
        return Batch(
            id=batch_id,
            owner=record["owner"],
            state=BatchState(record["state"]),
            total=total,
            counts=counts,
            created_ms=_whole(record["created_ms"]),
            in_progress_ms=_whole(record["created_ms"]),
            errors=_errors(record.get("errors", "[]")),
            metadata=dict(orjson.loads(record.get("metadata", "{}"))),
            surface=record.get("surface", "batches"),
            endpoint=record.get("endpoint", ""),
            input_file=record.get("input_file", ""),
            keep_jobs=record.get("keep_jobs") == "1",
            is_paused=record.get("paused") == "1",
            model=models[0] if len(models) == 1 else "",
            completion_window_s=_whole(record.get("window_s", 0)) or None,
            input_tokens=_whole(record.get("input_tokens", 0)),
            output_tokens=_whole(record.get("output_tokens", 0)),
            last_entry=_whole(record["last"]),
            log_status=Status.RUNNING if record["status"] == _OPEN else Status(record["status"]),
            is_packed=record.get("packed") == "1",
            is_open=record["status"] == _OPEN and not record.get("stop"),
            on_bad_line=OnBadLine(record.get("on_bad_line", OnBadLine.SKIP)),
            webhook=record.get("webhook", ""),
            ttl_s=_whole(record.get("ttl_s", 0)),
            sizes={name: _whole(record[f"{name}_bytes"]) for name in FILES if f"{name}_bytes" in record},
            finalizing_ms=_time(record, "finalizing_ms"),
            cancelling_ms=_time(record, "cancelling_ms"),
            ended_ms=_time(record, "ended_ms"),
            expires_ms=_time(record, "expires_ms"),
        )
    except (AttributeError, KeyError, ValueError, TypeError) as exc:
        raise BatchDamaged(f"batch {batch_id}", record) from exc


def _whole(value: str | int) -> int:
    """A stored number. Raises ``ValueError`` for one that no document could show."""
    number = int(value)
    if abs(number) >= _NUMBERS_BELOW:
        raise ValueError("a number is out of range")
    return number


def _errors(text: str) -> Sequence[Mapping[str, Any]]:
    errors: list[dict[str, Any]] = orjson.loads(text)
    if not isinstance(errors, list) or not all(error.keys() >= {"code", "message"} for error in errors):
        raise ValueError("errors is no list of errors")
    return errors


def _time(record: Mapping[str, str], name: str) -> int | None:
    return _whole(record[name]) if record.get(name) else None


def _older(batch_id: str, record: Mapping[str, str], counts: Mapping[str, int], total: int) -> Batch:
    """A batch of a version without logs of batches."""
    is_ended = sum(counts[name] for name in ENDS) >= total
    return Batch(
        id=batch_id,
        owner=record["owner"],
        state=BatchState.COMPLETED if is_ended else BatchState.IN_PROGRESS,
        total=total,
        counts=counts,
        created_ms=_whole(record["created_ms"]),
        in_progress_ms=_whole(record["created_ms"]),
        has_log=False,
        log_status=Status.SUCCEEDED if is_ended else Status.RUNNING,
    )
