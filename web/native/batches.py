"""``/batches``: many prompts in one request. A JSON array or JSONL in; counts, JSONL results and cancel out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from flask import Blueprint, Response, request

from spool.errors import (
    BatchNotFound,
    JobGone,
    OutcomeUnknown,
    OwnerQueueFull,
    QueueFull,
    StoreFull,
    StoreUnavailable,
)
from spool.jobs.entries import rfc3339
from spool.jobs.job import NewJob, Priority, Status, new_batch_id
from spool.jobs.store import JobStore
from spool.jobs.submission import NewBatch
from web import auth, json_text
from web.arguments import cursor_of
from web.auth import scope
from web.delivery.formats import ndjson
from web.delivery.peer import Peer
from web.intake.references import References
from web.intake.submission import body, idempotency_digest, new_job, parse_json, parse_submission
from web.json_response import json_response
from web.limits.bodies import job_bytes
from web.metrics import STREAMS, SUBMITTED
from web.native.job_document import job_pieces
from web.problems import Problem, field_problem, retry_after
from web.services import State, state
from web.slices import in_slices

blueprint = Blueprint("batches", __name__)

_AT_ONCE = 200
_STAGED_AT_ONCE = 50
"""Jobs written in one call. It blocks Redis for a few milliseconds."""
_TEXTS_AT_ONCE = 10
_TEXT_BYTES = 16 * 1024
"""Bytes of each job's text read with its record; the rest is read when it is sent."""
_BELLS = 100
_LINES_FACTOR = 2
"""The most lines for each allowed job of a batch; the excess can only be blank lines."""
_JSONL = ("application/x-ndjson", "application/jsonl", "application/x-jsonlines")


@blueprint.post("/batches")
@scope("jobs:write")
def submit() -> Response:
    """Accept a batch, all or nothing. Every line is checked and room for all jobs is reserved before the first job is
    written. No job starts before the last one is written."""
    services, owner = state(), auth.owner()
    services.refuse_when_full()
    texts = _texts(services)
    if len(texts) > services.settings.max_queued:
        # The batch can never fit, so nothing of it is parsed.
        raise QueueFull(f"a batch may have at most {services.settings.max_queued} jobs", retry_after_s=60.0)
    if 0 < services.limits.queued < len(texts):
        raise OwnerQueueFull(retry_after_s=60.0)
    batch_id, references = new_batch_id(shard=0), References(services, owner)
    jobs = [
        _new_job(services, parse_json(text, place), owner, index, batch_id, references)
        for index, (place, text) in enumerate(in_slices(texts))
    ]
    batch = NewBatch(batch_id, owner, jobs, idempotency_digest(), _digest(texts))
    accepted_id = services.store.stage_batch(batch, max_queued=services.settings.max_queued, limits=services.limits)
    headers = {"Location": f"/batches/{accepted_id}"}
    if accepted_id != batch_id:
        headers["Idempotent-Replayed"] = "true"
        return json_response(_document(services, accepted_id, owner), 200, headers)
    _write(services, batch)
    return json_response(_document(services, batch_id, owner), 202, headers)


@blueprint.get("/batches/<batch_id>")
@scope("jobs:read")
def show(batch_id: str) -> Response:
    """The batch with the number of its jobs in each state."""
    document = _document(state(), batch_id, auth.owner())
    return json_response(document, 200, {} if document["ended"] else {"Retry-After": "1"})


@blueprint.get("/batches/<batch_id>/results")
@scope("jobs:read")
def results(batch_id: str) -> Response:
    """The ended jobs, one per line, in the order of their ends. ``after`` skips that many, so that a client can fetch
    only new results. Takes a stream slot. The connection is cut if Redis fails."""
    services, owner = state(), auth.owner()
    after = cursor_of(request.args.get("after"), "after")
    services.refuse_streams(owner)
    services.store.batch(batch_id, owner)
    with ExitStack() as entering:
        entering.enter_context(services.slots.one(owner))
        entering.enter_context(STREAMS.labels("batch results").track_inprogress())
        held = entering.pop_all()
    lines = _result_lines(services.store, batch_id, owner, after, Peer(request.environ))
    response = Response(lines, mimetype=ndjson.MEDIA_TYPE, headers={"Cache-Control": "no-store"})
    response.call_on_close(held.close)
    return response


@blueprint.post("/batches/<batch_id>/cancel")
@scope("jobs:write")
def cancel(batch_id: str) -> Response:
    """Cancel the batch's jobs that have not ended. Ended jobs do not change."""
    services, owner = state(), auth.owner()
    services.store.batch(batch_id, owner)
    start = 0
    while job_ids := services.store.batch_jobs(batch_id, ended=False, start=start, count=_AT_ONCE):
        services.store.cancel_many(job_ids, owner)
        start += len(job_ids)
    return json_response(_document(services, batch_id, owner))


def _texts(services: State) -> list[tuple[str, memoryview]]:
    """The unparsed JSON text of each submission with its position. Their number and sizes are checked before the first
    is parsed. Raises a 413, 415 or 422 ``Problem``."""
    most = services.settings.max_batch_jobs
    largest = job_bytes(services.settings.max_body_bytes, services.settings.max_prompt_bytes)
    if request.mimetype == "application/json":
        try:
            texts = [(f"[{at}]", text) for at, text in enumerate(json_text.elements(body(), most, largest))]
        except json_text.TooLarge as exc:
            raise field_problem(f"[{exc.index}]", f"is larger than {largest} bytes", status=413) from exc
        except json_text.Refused as exc:
            raise field_problem("body", str(exc)) from exc
    elif request.mimetype in _JSONL:
        texts = _lines(body(), most)
    else:
        accept = {"Accept": ", ".join(("application/json", *_JSONL))}
        raise Problem(415, "Wrong media type", f"send application/json or {_JSONL[0]}", headers=accept)
    if not 1 <= len(texts) <= most:
        raise field_problem("body", f"must have 1 to {most} submissions")
    for place, text in texts:
        if len(text) > largest:
            raise field_problem(place, f"is larger than {largest} bytes", status=413)
    return texts


def _digest(texts: list[tuple[str, memoryview]]) -> str:
    digest = hashlib.sha256()
    for _place, text in texts:
        digest.update(text)
        digest.update(b"\n")
    return digest.hexdigest()[:32]


def _lines(data: bytes, most: int) -> list[tuple[str, memoryview]]:
    """The non-blank lines with their numbers."""
    ends = data.count(b"\n")
    if ends > _LINES_FACTOR * most:
        raise field_problem(
            "body", f"has {ends} lines: at most {_LINES_FACTOR * most} are allowed, blank ones included"
        )
    lines = enumerate(data.split(b"\n"), 1)
    return [(f"line {number}", memoryview(line)) for number, line in in_slices(lines) if line.strip()]


def _new_job(services: State, item: Any, owner: str, index: int, batch_id: str, references: References) -> NewJob:
    place = f"[{index}]"
    submission = parse_submission(item, place)
    new = new_job(services, submission, owner, place=f"{place}.", surface="batches", references=references)
    # The default priority in a batch is ``batch``.
    priority = submission.priority if "priority" in submission.model_fields_set else Priority.BATCH
    return replace(new, priority=priority, batch=batch_id, batch_index=index)


def _write(services: State, batch: NewBatch) -> None:
    """Write the reserved jobs and release them to workers, all or nothing. An incomplete batch is dropped here, or by
    the keeper if this process dies."""
    try:
        for start in range(0, len(batch.jobs), _STAGED_AT_ONCE):
            jobs = batch.jobs[start : start + _STAGED_AT_ONCE]
            services.store.submit_many(jobs, max_queued=services.settings.max_queued, limits=services.limits)
        services.store.seal_batch(batch)
    except Exception as exc:
        if not _is_sealed_after_all(services.store, batch, exc):
            if isinstance(exc, StoreUnavailable | BatchNotFound):
                raise _not_accepted(exc) from exc
            raise
    SUBMITTED.labels("batches").inc(len(batch.jobs))
    for _ in range(min(len(batch.jobs), _BELLS)):
        # One bell for each slot that may be free. A worker that finishes a job claims the next; the keeper rings later.
        services.bell.ring(batch.id)


def _is_sealed_after_all(store: JobStore, batch: NewBatch, exc: Exception) -> bool:
    """Drop the batch. True if it turns out sealed, because only the answer to the seal was lost."""
    try:
        return not store.drop_batch(batch.id)
    except StoreUnavailable:
        if isinstance(exc, OutcomeUnknown):
            detail = "the batch may or may not have been accepted; look it up, or retry with an Idempotency-Key"
            raise Problem(503, "Outcome unknown", detail, headers=retry_after(2), batch=batch.id) from exc
        return False


def _not_accepted(exc: StoreUnavailable | BatchNotFound) -> Problem:
    detail = "the batch was not accepted and nothing of it is stored; retry"
    title = "Store full" if isinstance(exc, StoreFull) else "Store unavailable"
    return Problem(503, title, detail, headers=retry_after(getattr(exc, "retry_after_s", 2.0)))


def _document(services: State, batch_id: str, owner: str) -> dict[str, Any]:
    record = services.store.batch(batch_id, owner)
    counts = {status.value: int(record.get(status.value, 0)) for status in Status}
    total = int(record["total"])
    ended = counts["succeeded"] + counts["failed"] + counts["cancelled"]
    return {
        "id": batch_id,
        "owner": owner,
        "created_at": rfc3339(int(record["created_ms"]) / 1000),
        "total": total,
        "counts": counts,
        "ended": ended == total,
        "urls": {
            "self": f"/batches/{batch_id}",
            "results": f"/batches/{batch_id}/results",
            "cancel": f"/batches/{batch_id}/cancel",
        },
    }


def _result_lines(store: JobStore, batch_id: str, owner: str, start: int, peer: Peer) -> Iterator[bytes]:
    try:
        while job_ids := store.batch_jobs(batch_id, ended=True, start=start, count=_TEXTS_AT_ONCE):
            jobs = store.look_many(job_ids, owner, with_text=True, text_bytes=_TEXT_BYTES)
            start += len(job_ids)
            while jobs:
                yield from job_pieces(store, jobs.pop(0))
                yield b"\n"
    except (JobGone, StoreUnavailable):
        peer.cut()
