"""The native API's JSON documents of a batch, and of its result lines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NotRequired

from typing_extensions import TypedDict

from spool.batches.batch import COUNTS, Batch, BatchState
from spool.jobs.entries import rfc3339
from web.examples import BATCH_ID, JOB
from web.native.job_document import JobDocument


class BatchUrls(TypedDict):
    """The paths of a batch's calls."""

    self: str
    results: str
    cancel: str
    stream: str
    ws: str
    entries: str
    lines: NotRequired[str]
    seal: NotRequired[str]


class BatchError(TypedDict):
    """A line that cannot run: its number in the body, from 1, and the wrong field, if it is one."""

    code: str
    line: int | None
    message: str
    param: str | None


class BatchDocument(TypedDict):
    """A batch, and how many of its lines are in each state. ``last_entry`` is the cursor of its last result. ``errors``
    are the first lines that cannot run. ``open``: lines can be added until it is sealed."""

    id: str
    owner: str
    state: BatchState
    created_at: str
    ended_at: str | None
    expires_at: str | None
    total: int
    counts: dict[str, int]
    ended: bool
    paused: bool
    open: bool
    last_entry: int
    usage: dict[str, int]
    errors: list[BatchError]
    metadata: Mapping[str, str]
    urls: BatchUrls


class ResultDocument(JobDocument):
    """A line that has ended, as its job was. ``cursor`` is the ``after`` of the lines behind it. ``status`` may also be
    ``expired``."""

    cursor: NotRequired[int]
    custom_id: NotRequired[str]
    reasoning: NotRequired[str | None]
    tool_calls: NotRequired[list[dict[str, Any]]]


def batch_document(batch: Batch) -> BatchDocument:
    """The batch as the API shows it."""
    return {
        "id": batch.id,
        "owner": batch.owner,
        "state": batch.state,
        "created_at": rfc3339(batch.created_ms / 1000),
        "ended_at": _time(batch.ended_ms),
        "expires_at": _time(batch.expires_ms) if batch.completion_window_s or batch.is_open else None,
        "total": batch.total,
        # Clients of batches that cannot expire know five states.
        "counts": {name: batch.counts[name] for name in COUNTS if name != "expired" or batch.counts[name]},
        "ended": batch.is_ended,
        "paused": batch.is_paused,
        "open": batch.is_open,
        "last_entry": batch.last_entry,
        "usage": {"input_tokens": batch.input_tokens, "output_tokens": batch.output_tokens},
        "errors": [_error(error) for error in batch.errors],
        "metadata": batch.metadata,
        "urls": _urls(batch),
    }


def _urls(batch: Batch) -> BatchUrls:
    path = f"/batches/{batch.id}"
    urls: BatchUrls = {
        "self": path,
        "results": f"{path}/results",
        "cancel": f"{path}/cancel",
        "stream": f"{path}/stream",
        "ws": f"{path}/ws",
        "entries": f"{path}/entries",
    }
    if batch.is_open:
        urls |= {"lines": f"{path}/lines", "seal": f"{path}/seal"}
    return urls


def batch_example() -> BatchDocument:
    """A batch of two lines, as the documentation shows it."""
    counts = dict.fromkeys(("queued", "running", "succeeded", "failed", "cancelled", "expired"), 0) | {"queued": 2}
    return batch_document(Batch(BATCH_ID, JOB.owner, BatchState.IN_PROGRESS, 2, counts, 1795253400123))


def _error(error: Mapping[str, Any]) -> BatchError:
    return {
        "code": error["code"],
        "line": error.get("line"),
        "message": error["message"],
        "param": error.get("param"),
    }


def result_document(entry: Mapping[str, Any], batch: Batch) -> dict[str, Any]:
    """A line's document from its entry in the batch's log: what its job's document was, and more."""
    path, content = f"/jobs/{entry['job']}", entry.get("content") or ""
    document: dict[str, Any] = {
        "cursor": entry["id"],
        "id": entry["job"],
        "status": entry["status"],
        "model": entry.get("model"),
        "owner": batch.owner,
        "priority": entry.get("priority", "batch"),
        "created_at": _time(entry.get("created_ms") or batch.created_ms),
        "started_at": _time(entry.get("started_ms")),
        "ended_at": _time(entry.get("ended_ms")) or entry["at"],
        "deadline_at": _time(entry.get("deadline_ms") or batch.expires_ms),
        "attempt": entry.get("attempt", 0),
        "last_entry": entry.get("entries", 0),
        "queue_position": None,
        "position_is": None,
        "estimated_start_at": None,
        "waiting_for": None,
        "cancel_requested_at": None,
        "finish_reason": entry.get("finish_reason"),
        "usage": entry.get("usage"),
        "error": entry.get("error"),
        "metadata": entry.get("metadata") or {},
        "coalesce": entry.get("coalesce"),
        "batch": batch.id,
        "batch_index": entry["batch_index"],
        "fairness_key": entry.get("fairness_key"),
        "fairness_weight": entry.get("fairness_weight"),
        "start_within_s": None,
        "not_before": None,
        "conversation": None,
        "urls": {
            "self": path,
            "entries": f"{path}/entries",
            "stream": f"{path}/stream",
            "ws": f"{path}/ws",
            "cancel": f"{path}/cancel",
        },
    }
    if "custom_id" in entry:
        document["custom_id"] = entry["custom_id"]
    document |= {"reasoning": entry.get("reasoning"), "tool_calls": entry.get("tool_calls") or [], "text": content}
    return document


def _time(ms: int | None) -> str | None:
    return None if ms is None else rfc3339(ms / 1000)
