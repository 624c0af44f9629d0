"""The job: its states, the table of their transitions, and its record.

The record is a Redis hash (see ``spool.keys``). Its times are whole milliseconds since the epoch on Redis's clock.
``Job.decode`` reads every version from 1 to ``SCHEMA`` and ignores fields of later versions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import orjson

from spool.errors import UndecodableRecord
from spool.ids import shard_of
from spool.jobs.coalescing import Coalescing
from spool.jobs.conversation_blocks import UNDIVIDED, Block, Divided
from spool.jobs.origin import FIELDS as ORIGIN_FIELDS
from spool.jobs.origin import UNKNOWN, Origin
from spool.jobs.repeats import Repeat
from spool.jobs.scheduling import FIELDS as SCHEDULING_FIELDS
from spool.jobs.scheduling import UNSCHEDULED, Scheduling

SCHEMA = 6
"""The newest version of the record that this code reads and writes: 6 (``OPEN_LINE``) for a line of a batch to which
lines are still added, which older versions would not find running; 5 (``LINE``) for a line of a batch with a log, to
which older versions would not add its end, and for a job of another endpoint than a chat, which older workers would
send as a chat; 4 for an ended job whose log is packed; 3 for a job that can be held (``not_before``,
``conversation``), which older versions would queue at once; 2 for a job whose conversation begins with blocks; 1 for
any other. Jobs of a newer version are left unchanged. A new kind of value in an existing field, such as another
status, needs a new version. A new field does not."""
PACKED = 4
LINE = 5
OPEN_LINE = 6


class Status(StrEnum):
    """The states of a job."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


TRANSITIONS: Mapping[Status, frozenset[Status]] = {
    Status.QUEUED: frozenset({Status.RUNNING, Status.FAILED, Status.CANCELLED}),
    # Back to queued: its worker died, or handed the job back.
    Status.RUNNING: frozenset({Status.QUEUED, Status.SUCCEEDED, Status.FAILED, Status.CANCELLED}),
    Status.SUCCEEDED: frozenset(),
    Status.FAILED: frozenset(),
    Status.CANCELLED: frozenset(),
}
"""The allowed transitions. The scripts use this same table (``spool.jobs.scripts``)."""

FIELDS = (
    *(
        "schema",
        "id",
        "status",
        "owner",
        "model",
        "created_ms",
        "deadline_ms",
        "started_ms",
        "ended_ms",
        "priority",
        "surface",
    ),
    *("attempt", "attempt_first", "losses", "on_worker_loss", "last", "plain", "cancel_ms", "usage", "error"),
    *("finish_reason", "metadata", "on_disconnect", "coalesce", "batch", "batch_index"),
    *SCHEDULING_FIELDS,
    *ORIGIN_FIELDS,
)
"""The record's fields that ``Job.decode`` reads. Scripts return their values alone, in this order."""

ENDED = frozenset(status for status, following in TRANSITIONS.items() if not following)


class Priority(StrEnum):
    """Interactive jobs are claimed before batch jobs."""

    INTERACTIVE = "interactive"
    BATCH = "batch"


class OnWorkerLoss(StrEnum):
    """What happens to a job that already has output when its worker dies."""

    RESTART = "restart"
    FAIL = "fail"


class OnDisconnect(StrEnum):
    """What happens to a job when its last reader disconnects."""

    CONTINUE = "continue"
    CANCEL = "cancel"


_MS_DIGITS = 14
_COUNT_DIGITS = 15
_PACKED_MARK = " packed"
"""After ``on_worker_loss`` of a packed job, so that versions that cannot read packed logs cannot decode the record."""


@dataclass(frozen=True, slots=True)
class StoredInput:
    """A job's input as Redis stores it: ``own`` belongs to this job alone, the shared ``blocks`` come before it."""

    own: bytes
    blocks: Sequence[Block] = ()


@dataclass(frozen=True, slots=True)
class NewJob:
    """What a submit writes.

    ``input`` is the prompt, stored in a key of its own: ``{"messages": […], "params": {…}}``. Some surfaces add
    ``instructions`` (for this turn only), ``request`` (values that their responses must repeat) and ``endpoint`` (the
    upstream's endpoint that ``params`` are the whole body for, if that is no chat).
    """

    owner: str
    model: str
    input: Mapping[str, Any]
    id: str = ""
    """Empty until ``Shards.place``."""
    priority: Priority = Priority.INTERACTIVE
    surface: str = "jobs"
    metadata: Mapping[str, str] = field(default_factory=dict)
    ttl_s: int = 86_400
    timeout_s: float = 3600.0
    start_s: float | None = None
    """How long it may wait for its first attempt, in seconds; None: until its deadline."""
    on_disconnect: OnDisconnect = OnDisconnect.CONTINUE
    on_worker_loss: OnWorkerLoss = OnWorkerLoss.RESTART
    continuable: bool = False
    coalesce: Coalescing | None = None
    idempotency_key: str = ""
    """A digest of the caller's key; empty: none."""
    body_digest: str = ""
    repeat: Repeat | None = None
    """What tells that another request repeats this one; None: nothing."""
    batch: str = ""
    batch_index: int = 0
    line: str = ""
    """``LANE:POSITION``, for a line that has waited in its batch (``spool.batches``)."""
    custom_id: str = ""
    """The client's name of the line; empty: none."""
    chat: str = ""
    """A digest of the chat of which this becomes the newest job; empty: none."""
    divided: Divided = UNDIVIDED
    """The blocks at the beginning of its messages; jobs of the owner share them."""
    scheduling: Scheduling = UNSCHEDULED
    origin: Origin = UNKNOWN
    webhook: str = field(default="", repr=False)
    """The webhook that its submit names, as the outbox reads it; empty: none. A URL may contain a receiver's secret."""

    def encode_input(self) -> bytes:
        """The whole input as JSON."""
        return orjson.dumps(self.input)

    def stored(self) -> StoredInput:
        """The input as Redis stores it."""
        blocks = self.divided.blocks
        if not blocks:
            return StoredInput(self.encode_input())
        own = {**self.input, "messages": self.input["messages"][self.divided.count :], "before": blocks[-1].digest}
        return StoredInput(orjson.dumps(own), blocks)


@dataclass(frozen=True, slots=True)
class Job:
    """A snapshot of a job's record. Times are seconds since the epoch, None if not yet known."""

    id: str
    status: Status
    owner: str
    model: str
    created_at: float
    deadline_at: float
    started_at: float | None = None
    ended_at: float | None = None
    priority: Priority = Priority.INTERACTIVE
    surface: str = "jobs"
    attempt: int = 0
    attempt_first: int = 1
    losses: int = 0
    """The number of attempts that count against ``SPOOL_MAX_ATTEMPTS``."""
    on_worker_loss: OnWorkerLoss = OnWorkerLoss.RESTART
    last_entry: int = 0
    plain: bool = True
    """It has produced only text, and perhaps reasoning."""
    cancel_requested_at: float | None = None
    usage: Mapping[str, Any] | None = None
    error: Mapping[str, Any] | None = None
    finish_reason: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    on_disconnect: OnDisconnect = OnDisconnect.CONTINUE
    coalesce: Coalescing | None = None
    """How pieces of its text are merged; None: each is an entry."""
    batch: str | None = None
    batch_index: int | None = None
    scheduling: Scheduling = UNSCHEDULED
    origin: Origin = UNKNOWN
    queue_position: int | None = None
    text: str | None = None
    text_bytes: int = 0
    """The length of the whole text in bytes, if ``text`` is only its beginning."""
    is_packed: bool = False
    """Its log is packed (``spool.jobs.packing``)."""

    @property
    def ended(self) -> bool:
        """Whether its log has a terminal entry."""
        return self.status in ENDED

    @classmethod
    def accepted(cls, new: NewJob, created_at: float, deadline_at: float, queue_position: int | None) -> Job:
        """The job as a submit has just written it."""
        return cls(
            id=new.id,
            status=Status.QUEUED,
            owner=new.owner,
            model=new.model,
            created_at=created_at,
            deadline_at=deadline_at,
            priority=new.priority,
            surface=new.surface,
            on_worker_loss=new.on_worker_loss,
            metadata=new.metadata,
            on_disconnect=new.on_disconnect,
            coalesce=new.coalesce,
            batch=new.batch or None,
            batch_index=new.batch_index if new.batch else None,
            scheduling=new.scheduling,
            origin=new.origin,
            queue_position=queue_position,
        )

    @classmethod
    def decode(
        cls,
        values: Sequence[bytes | None],
        *,
        queue_position: int | None = None,
        text: str | None = None,
        text_bytes: int = 0,
    ) -> Job:
        """Decode a job from the values of ``FIELDS``, None for a missing one. Raises ``UndecodableRecord``."""
        try:
            pairs = zip(FIELDS, values, strict=True)
            record = {name: value.decode() for name, value in pairs if value is not None}
            return cls._from_record(record, queue_position, text, text_bytes)
        except (KeyError, ValueError, TypeError, AttributeError, OverflowError) as exc:
            raise UndecodableRecord("job", values) from exc

    @classmethod
    def _from_record(
        cls, record: Mapping[str, str], queue_position: int | None, text: str | None, text_bytes: int
    ) -> Job:
        created = _seconds(record["created_ms"])
        deadline = _seconds(record["deadline_ms"])
        if created is None or deadline is None:
            raise ValueError("the creation time or the deadline is missing")
        # Keys are made of it.
        shard_of(record["id"])
        return cls(
            id=record["id"],
            status=Status(record["status"]),
            owner=record["owner"],
            model=record["model"],
            created_at=created,
            deadline_at=deadline,
            started_at=_seconds(record.get("started_ms")),
            ended_at=_seconds(record.get("ended_ms")),
            priority=Priority(record.get("priority", Priority.INTERACTIVE)),
            surface=record.get("surface", "jobs"),
            attempt=_count(record.get("attempt"), 0),
            attempt_first=_count(record.get("attempt_first"), 1),
            losses=_count(record.get("losses"), 0),
            on_worker_loss=OnWorkerLoss(record.get("on_worker_loss", OnWorkerLoss.RESTART).removesuffix(_PACKED_MARK)),
            last_entry=_count(record.get("last"), 0),
            plain=record.get("plain") != "0",
            cancel_requested_at=_seconds(record.get("cancel_ms")),
            usage=_object(record.get("usage")),
            error=_object(record.get("error")),
            finish_reason=record.get("finish_reason"),
            metadata=_object(record.get("metadata")) or {},
            on_disconnect=OnDisconnect(record.get("on_disconnect", OnDisconnect.CONTINUE)),
            coalesce=Coalescing.decode(record.get("coalesce")),
            batch=record.get("batch") or None,
            batch_index=_count(record["batch_index"], 0) if record.get("batch") else None,
            scheduling=Scheduling.decode(record),
            origin=Origin.decode(record),
            queue_position=queue_position,
            text=text,
            text_bytes=text_bytes,
            is_packed=int(record.get("schema", 1)) == PACKED,
        )


def _count(text: str | None, missing: int) -> int:
    if text is None:
        return missing
    # Beyond it neither Lua nor JavaScript counts exactly.
    if len(text) > _COUNT_DIGITS:
        raise ValueError("the number is out of range")
    return int(text)


def _seconds(ms: str | None) -> float | None:
    if not ms:
        return None
    if len(ms) > _MS_DIGITS:
        raise ValueError("the time is out of range")
    return int(ms) / 1000


def _object(text: str | None) -> dict[str, Any] | None:
    if not text:
        return None
    value = orjson.loads(text)
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value
