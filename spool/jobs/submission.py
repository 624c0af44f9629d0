"""The arguments of ``submit.lua`` and ``open_batch.lua``, and the decoding of their replies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from spool.errors import (
    BatchNotFound,
    BatchStaging,
    ConversationBusy,
    ConversationFull,
    IdempotencyConflict,
    OwnerBytesFull,
    OwnerQueueFull,
    QueueFull,
    QuotaExceeded,
    RecordDamaged,
    StoreFull,
    TooManyOpenBatches,
)
from spool.jobs.entries import rfc3339
from spool.jobs.job import Job, NewJob, OnDisconnect, Priority, StoredInput
from spool.jobs.owner_limits import NO_LIMITS, OwnerLimits, output_at_most, tokens_at_most
from spool.jobs.repeats import Joins
from spool.jobs.scheduling import NOT_BEFORE_AT_MOST_S
from spool.jobs.scripts import arguments

RANKS = {Priority.INTERACTIVE: 1, Priority.BATCH: 2}
"""The order of claims; 0 is a retry."""
FIRST_READER_MS = 30_000
"""How long a job with ``on_disconnect`` ``cancel`` waits for its first reader, in milliseconds."""
_OWN_LIMITS = {b"owner_full": OwnerQueueFull, b"owner_bytes": OwnerBytesFull, b"many_open": TooManyOpenBatches}


@dataclass(frozen=True, slots=True)
class Submitted:
    """The result of a submit: the job, and whether an earlier submit, which this one repeats, made it."""

    job: Job
    replayed: bool


@dataclass(frozen=True, slots=True)
class NewBatch:
    """Jobs of one owner that are accepted all or none; each contains the batch's id."""

    id: str
    owner: str
    jobs: Sequence[NewJob]
    idempotency_key: str = ""
    """A digest of the caller's key; empty: none."""
    body_digest: str = ""
    credential: str = ""
    """The id of the key that submits it; empty: none."""


def submit_args(
    new: NewJob, stored: StoredInput, max_queued: int, limits: OwnerLimits, *, texts_from: int = 0
) -> list[Any]:
    """The arguments of ``submit.lua``. Blocks from number ``texts_from`` on include their messages, earlier ones only
    their digests."""
    blocks = stored.blocks
    path = [
        value
        for number, block in enumerate(blocks)
        for value in (block.digest, block.messages if number >= texts_from else b"")
    ]
    return arguments(
        "submit",
        [*path, *_fields_of(new, stored)],
        id=new.id,
        owner=new.owner,
        model=new.model,
        rank=RANKS[new.priority],
        ttl_s=new.ttl_s,
        timeout_ms=round(new.timeout_s * 1000),
        start_ms=round((new.timeout_s if new.start_s is None else new.start_s) * 1000),
        max_queued=max_queued,
        idempotency=_idempotency(new),
        digest=new.body_digest,
        repeat_key=f"{new.owner}:{new.repeat.key}" if new.repeat else "",
        joins=(new.repeat.joins if new.repeat else Joins.NONE).value,
        batch=new.batch,
        batch_index=new.batch_index,
        line=new.line,
        input=stored.own,
        watch_ms=FIRST_READER_MS if new.on_disconnect is OnDisconnect.CANCEL else 0,
        output_at_most=output_at_most(new.input.get("params", {}), new.coalesce),
        block_count=len(blocks),
        **own_limits(limits),
    )


def _fields_of(new: NewJob, stored: StoredInput) -> list[Any]:
    """The names and values of the record's fields that ``submit.lua`` only stores."""
    fields: dict[str, Any] = {
        "priority": new.priority.value,
        "surface": new.surface,
        "metadata": orjson.dumps(dict(new.metadata)),
        "on_disconnect": new.on_disconnect.value,
        "on_worker_loss": new.on_worker_loss.value,
        "continuable": int(new.continuable),
        **new.scheduling.encode(),
        **new.origin.encode(),
    }
    if new.coalesce:
        fields["coalesce"] = new.coalesce.encode()
    if new.chat:
        fields["chat"] = new.chat
    if new.webhook:
        fields["webhook"] = new.webhook
    if endpoint := new.input.get("endpoint"):
        fields["endpoint"] = endpoint
    if new.custom_id:
        fields["custom_id"] = new.custom_id
    most = tokens_at_most(new.input.get("params", {}))
    if most:
        fields["max_tokens"] = most
    if stored.blocks:
        fields["before"] = stored.blocks[-1].digest
        fields["earlier_bytes"] = sum(len(block.messages) for block in stored.blocks)
    return [value for pair in fields.items() for value in pair]


def _idempotency(new: NewJob | NewBatch) -> str:
    return f"{new.owner}:{new.idempotency_key}" if new.idempotency_key else ""


def own_limits(limits: OwnerLimits) -> dict[str, Any]:
    """The limits of an owner, as the arguments of the scripts that accept its jobs."""
    return {
        "owner_queued": limits.queued,
        "owner_bytes": limits.bytes,
        "share": limits.share,
        "watermark": limits.watermark,
        "budgets": limits.budgets,
    }


def batch_args(batch: NewBatch, max_queued: int, limits: OwnerLimits) -> list[Any]:
    """The arguments of ``open_batch.lua`` for a staged batch."""
    kinds = Counter((job.model, output_at_most(job.input.get("params", {}), job.coalesce)) for job in batch.jobs)
    inputs = [job.stored() for job in batch.jobs]
    blocks = {block.digest: block.size for stored in inputs for block in stored.blocks}
    return arguments(
        "open_batch",
        [value for (model, at_most), count in kinds.items() for value in (model, at_most, count)],
        id=batch.id,
        owner=batch.owner,
        total=len(batch.jobs),
        ttl_s=max(job.ttl_s for job in batch.jobs),
        timeout_ms=round(max(job.timeout_s + _delay_s(job) for job in batch.jobs) * 1000),
        is_staged=1,
        idempotency=_idempotency(batch),
        digest=batch.body_digest,
        max_queued=max_queued,
        input_bytes=sum(len(stored.own) for stored in inputs) + sum(blocks.values()),
        credential=batch.credential,
        **own_limits(limits),
    )


def _delay_s(job: NewJob) -> float:
    """The longest time before the job's timeout begins to count, in seconds."""
    return 0 if job.scheduling.not_before is None else NOT_BEFORE_AT_MOST_S


def unstaged_batch_args(batch_id: str, owner: str, total: int, ttl_s: int, timeout_s: float) -> list[Any]:
    """The arguments of ``open_batch.lua`` for a batch whose jobs are accepted or refused one by one."""
    return arguments(
        "open_batch",
        id=batch_id,
        owner=owner,
        total=total,
        ttl_s=ttl_s,
        timeout_ms=round(timeout_s * 1000),
        is_staged=0,
        idempotency="",
        digest="",
        max_queued=0,
        input_bytes=0,
        credential="",
        **own_limits(NO_LIMITS),
    )


def read_staged(reply: list[Any]) -> str:
    """The batch's id from a reply of ``open_batch.lua``. Raises ``BatchStaging`` and as ``raise_refusal`` does."""
    outcome, batch_id = reply[0], reply[1].decode()
    if outcome == b"staging":
        raise BatchStaging(batch_id)
    raise_refusal(outcome, batch_id, reply[2:])
    return str(batch_id)


def raise_refusal(outcome: bytes, identifier: str, detail: Sequence[Any] = ()) -> None:
    """Raise the error for a script's refusal; return for any other outcome. ``detail``: what follows the identifier."""
    if outcome == b"quota_exceeded":
        now_ms, period, whose, budget, used = detail
        raise quota_exceeded(now_ms / 1000, period.decode(), whose.decode(), budget, used)
    if outcome == b"conflict":
        raise IdempotencyConflict(identifier)
    if outcome == b"full":
        raise QueueFull("queue is full", retry_after_s=5.0)
    if outcome in _OWN_LIMITS:
        raise _OWN_LIMITS[outcome](retry_after_s=5.0)
    if outcome == b"no_memory":
        raise StoreFull("Redis has not enough memory for the expected output of accepted and new jobs")


def quota_exceeded(now: float, period: str, whose: str, budget: int, used: int) -> QuotaExceeded:
    """The refusal of a submit beyond a budget for a ``period`` (day or month, UTC), at a time in seconds since the
    epoch."""
    today = datetime.fromtimestamp(now, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    # The 1st is at most 31 days ahead.
    renewed = (
        today + timedelta(days=1) if period == "day" else (today.replace(day=1) + timedelta(days=32)).replace(day=1)
    )
    holder = "your" if whose == "owner" else "this key's"
    return QuotaExceeded(
        f"{holder} budget of {budget:,} tokens a {period} is used up ({used:,} used); it is renewed at "
        f"{rfc3339(renewed.timestamp())}",
        retry_after_s=renewed.timestamp() - now,
    )


def read_submitted(reply: list[Any], new: NewJob) -> Submitted:
    """Decode a reply of ``submit.lua``. Raises as ``raise_refusal`` does, ``BatchNotFound``, ``ConversationBusy``,
    ``ConversationFull``, ``RecordDamaged``, and ``UndecodableRecord`` for an unreadable record of an earlier job."""
    outcome, job_id = reply[0], reply[1].decode()
    raise_refusal(outcome, job_id, reply[2:])
    if outcome == b"set_aside":
        raise RecordDamaged(f"job {job_id}")
    if outcome == b"no_batch":
        raise BatchNotFound(new.batch)
    if outcome == b"busy":
        raise ConversationBusy(reply[2].decode())
    if outcome == b"conversation_full":
        raise ConversationFull(retry_after_s=5.0)
    position, *rest = reply[2:]
    if outcome == b"created":
        created_ms, deadline_ms = rest
        return Submitted(Job.accepted(new, created_ms / 1000, deadline_ms / 1000, position), replayed=False)
    (values,) = rest
    return Submitted(Job.decode(values, queue_position=position), replayed=outcome == b"replayed")
