"""OpenAI's Batch object. https://platform.openai.com/docs/api-reference/batch/object

The ids of its files follow from its own; the files are its log, translated (``web.openai.batch_output``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from typing_extensions import TypedDict

from spool.batches.batch import Batch, BatchState

OUTPUT, ERRORS = "output", "errors"
_FILE_ID = re.compile(r"file-(b[0-9]{1,4}-[0-9a-z]{16,40})-(output|errors)")


class BatchErrors(TypedDict):
    """What is wrong with the input, line by line."""

    object: Literal["list"]
    data: list[Mapping[str, Any]]


class RequestCounts(TypedDict):
    """The lines; ``failed`` includes those that never ran."""

    total: int
    completed: int
    failed: int


class BatchFiles(TypedDict):
    """The files of a batch, which can be read while it runs."""

    output_file_id: str
    error_file_id: str


class BatchObject(TypedDict):
    """A batch. Times are in seconds since the epoch. ``output_file_id`` and ``error_file_id`` are set at the end, and
    null if nothing is in them."""

    id: str
    object: Literal["batch"]
    endpoint: str
    model: str | None
    errors: BatchErrors | None
    input_file_id: str
    completion_window: str
    status: str
    output_file_id: str | None
    error_file_id: str | None
    created_at: int
    in_progress_at: int | None
    expires_at: int | None
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    request_counts: RequestCounts
    usage: Mapping[str, Any]
    metadata: Mapping[str, str] | None
    spool: BatchFiles


def file_id_of(batch_id: str, kind: str) -> str:
    """The id of a batch's file: that of its outputs or that of its errors."""
    return f"file-{batch_id}-{kind}"


def batch_of_file(file_id: str) -> tuple[str, str] | None:
    """The batch and the kind of a batch's file; None for any other file."""
    found = _FILE_ID.fullmatch(file_id)
    return (found[1], found[2]) if found else None


def has_file(batch: Batch, kind: str) -> bool:
    """Whether something is in the file."""
    counts = batch.counts
    if kind == OUTPUT:
        return counts["succeeded"] > 0
    return counts["failed"] + counts["cancelled"] + counts["expired"] > 0


def batch_object(batch: Batch) -> BatchObject:
    """The batch as it is."""
    counts, is_ended = batch.counts, batch.is_ended
    failed = batch.state is BatchState.FAILED

    def ended(state: BatchState) -> int | None:
        return _seconds(batch.ended_ms) if batch.state is state else None

    return {
        "id": batch.id,
        "object": "batch",
        "endpoint": batch.endpoint,
        "model": batch.model or None,
        "errors": {"object": "list", "data": [_error(each) for each in batch.errors]} if failed else None,
        "input_file_id": batch.input_file,
        "completion_window": _window(batch.completion_window_s or 0),
        "status": batch.state.value,
        "output_file_id": file_id_of(batch.id, OUTPUT) if is_ended and has_file(batch, OUTPUT) else None,
        "error_file_id": file_id_of(batch.id, ERRORS) if is_ended and has_file(batch, ERRORS) else None,
        "created_at": batch.created_ms // 1000,
        "in_progress_at": None if failed else _seconds(batch.in_progress_ms),
        "expires_at": _seconds(batch.expires_ms),
        "finalizing_at": None if failed else _seconds(batch.finalizing_ms),
        "completed_at": ended(BatchState.COMPLETED),
        "failed_at": ended(BatchState.FAILED),
        "expired_at": ended(BatchState.EXPIRED),
        "cancelling_at": _seconds(batch.cancelling_ms),
        "cancelled_at": ended(BatchState.CANCELLED),
        "request_counts": {
            "total": batch.total,
            "completed": counts["succeeded"],
            "failed": counts["failed"] + counts["cancelled"] + counts["expired"],
        },
        "usage": _usage(batch),
        "metadata": batch.metadata or None,
        "spool": {"output_file_id": file_id_of(batch.id, OUTPUT), "error_file_id": file_id_of(batch.id, ERRORS)},
    }


def as_created(document: BatchObject) -> BatchObject:
    """The object with which a create answers: clients expect that validation comes later."""
    times: Any = {name: None for name in document if name.endswith("_at") and name not in ("created_at", "expires_at")}
    counts: RequestCounts = {"total": 0, "completed": 0, "failed": 0}
    files: Any = {"output_file_id": None, "error_file_id": None}
    return {**document, **times, **files, "status": "validating", "errors": None, "request_counts": counts}


def _error(error: Mapping[str, Any]) -> Mapping[str, Any]:
    """An error of the input; that of the whole file has no line."""
    return {**error, "line": error.get("line") or None}


def _usage(batch: Batch) -> dict[str, Any]:
    return {
        "input_tokens": batch.input_tokens,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": batch.output_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": batch.input_tokens + batch.output_tokens,
    }


def _window(seconds: int) -> str:
    for unit, size in (("h", 3600), ("m", 60)):
        if seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def _seconds(ms: int | None) -> int | None:
    return None if ms is None else ms // 1000
