"""The lines of a batch: a job to run, or what is wrong with it. A stored line is JSON."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from spool.errors import BatchDamaged
from spool.ids import shard_of
from spool.jobs.coalescing import Coalescing
from spool.jobs.conversation_blocks import UNDIVIDED, divide
from spool.jobs.job import NewJob, OnDisconnect, OnWorkerLoss, Priority
from spool.jobs.origin import Origin
from spool.jobs.scheduling import Scheduling

_TEXTS = ("model", "surface", "custom_id")
_NUMBERS = ("ttl_s", "timeout_s", "start_s")
_BAD = dict.fromkeys(("code", "line", "message", "param"))
_MESSAGES = {
    "cancelled": "the batch was cancelled before this line began",
    "expired": "the batch expired before this line began",
}


@dataclass(frozen=True, slots=True)
class Line:
    """A line that becomes ``job``, which needs no id yet. ``index`` is its number among the submissions, from 0."""

    index: int
    job: NewJob
    custom_id: str = ""


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that cannot become a job. ``line`` is its number in the body, from 1; ``param`` the path of the wrong
    field, empty for the whole line."""

    index: int
    line: int
    code: str
    message: str
    param: str = ""
    custom_id: str = ""

    def public(self) -> dict[str, Any]:
        """The error as batches show it."""
        return {"code": self.code, "line": self.line, "message": self.message, "param": self.param or None}


def job_id_of(batch_id: str, index: int | str) -> str:
    """The id of the job of a line. It follows from both, so a line that is fed twice is one job. A line that cannot be
    read has its ``LANE:POSITION`` for an index."""
    digest = hashlib.sha256(f"{batch_id} {index}".encode()).hexdigest()
    return f"j{shard_of(batch_id)}-{digest[:26]}"


def _named(fields: Mapping[str, Any]) -> int | str:
    """What names a decoded line within its batch."""
    return f"{fields['index']} {fields['salt']}" if "salt" in fields else int(fields["index"])


def encode(line: Line | BadLine, salt: str = "") -> bytes:
    """The stored form of a line. Jobs of lines with another ``salt`` have other ids, also under the same index."""
    salted = {"salt": salt} if salt else {}
    if isinstance(line, BadLine):
        return orjson.dumps({"index": line.index, "custom_id": line.custom_id, "bad": line.public(), **salted})
    job = line.job
    fields: dict[str, Any] = {
        "index": line.index,
        "custom_id": line.custom_id,
        "model": job.model,
        "surface": job.surface,
        "priority": job.priority.value,
        "ttl_s": job.ttl_s,
        "timeout_s": job.timeout_s,
        "start_s": job.start_s,
        "on_disconnect": job.on_disconnect.value,
        "on_worker_loss": job.on_worker_loss.value,
        "continuable": job.continuable,
        "metadata": dict(job.metadata),
        "coalesce": job.coalesce.encode().decode() if job.coalesce else None,
        "divided": job.divided.count,
        "scheduling": {name: str(value) for name, value in job.scheduling.encode().items()},
        "origin": job.origin.encode(),
        "input": job.input,
        **salted,
    }
    if job.webhook:
        fields["webhook"] = job.webhook
    return orjson.dumps(fields)


def is_bad(fields: Mapping[str, Any]) -> bool:
    """Whether a decoded line cannot become a job."""
    return "bad" in fields


def decode_fields(raw: bytes) -> dict[str, Any]:
    """The fields of a stored line. Raises ``BatchDamaged``."""
    try:
        fields = orjson.loads(raw)
        if isinstance(fields["index"], int) and fields.get("bad", _BAD).keys() >= _BAD.keys():
            return fields  # type: ignore[no-any-return]
    except (AttributeError, KeyError, TypeError, ValueError) as exc:
        raise BatchDamaged("a line of a batch", raw) from exc
    raise BatchDamaged("a line of a batch", raw)


def job_of(fields: Mapping[str, Any], batch_id: str, owner: str, line: str = "", *, ttl_s: int | None = None) -> NewJob:
    """The job of a decoded line that is not bad. ``line`` is its ``LANE:POSITION``; ``ttl_s`` replaces its own. Raises
    ``BatchDamaged``."""
    try:
        job_input, count = fields["input"], fields["divided"]
        return NewJob(
            id=job_id_of(batch_id, _named(fields)),
            owner=owner,
            batch=batch_id,
            batch_index=fields["index"],
            line=line,
            input=job_input,
            priority=Priority(fields["priority"]),
            on_disconnect=OnDisconnect(fields["on_disconnect"]),
            on_worker_loss=OnWorkerLoss(fields["on_worker_loss"]),
            continuable=fields["continuable"],
            metadata=fields["metadata"],
            coalesce=Coalescing.decode(fields["coalesce"]),
            divided=divide(job_input["messages"][:count]) if count else UNDIVIDED,
            scheduling=Scheduling.decode(fields["scheduling"]),
            origin=Origin.decode(fields["origin"]),
            webhook=fields.get("webhook", ""),
            **{name: fields[name] for name in _TEXTS},
            **{name: fields[name] for name in _NUMBERS if name != "ttl_s"},
            ttl_s=fields["ttl_s"] if ttl_s is None else ttl_s,
        )
    except (AttributeError, KeyError, ValueError, TypeError) as exc:
        raise BatchDamaged("a line of a batch", fields) from exc


def entry_of(batch_id: str, fields: Mapping[str, Any], status: str) -> bytes:
    """The members of the entry of a line that never ran, as JSON."""
    if is_bad(fields):
        bad, status_of = fields["bad"], "failed"
        error = {"code": bad["code"], "message": bad["message"], "retryable": False, "line": bad["line"]}
        if bad["param"]:
            error["param"] = bad["param"]
    else:
        status_of = status
        error = {"code": f"batch_{status}", "message": _MESSAGES.get(status, status), "retryable": True}
    entry: dict[str, Any] = {
        "batch_index": fields["index"],
        "job": job_id_of(batch_id, _named(fields)),
        "status": status_of,
        "model": fields.get("model"),
        "surface": fields.get("surface", "batches"),
        "attempt": 0,
        "content": "",
        "reasoning": None,
        "tool_calls": [],
        "finish_reason": None,
        "usage": None,
        "error": error,
        "metadata": fields.get("metadata", {}),
    }
    if fields.get("custom_id"):
        entry["custom_id"] = fields["custom_id"]
    return b"," + orjson.dumps(entry)[1:-1]
