"""``/batches``: many prompts at once, in a simple form: a JSON array or JSONL in, counts, JSONL results out, cancel."""

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
"""Redis does nothing else while it takes these: a few milliseconds."""
_TEXTS_AT_ONCE = 10
_TEXT_BYTES = 16 * 1024
"""Of each of their texts; the rest is read when it is its turn."""
_BELLS = 100
_LINES_FACTOR = 2
"""How many lines there may be for each job that a batch may have; what is more is blank."""
_JSONL = ("application/x-ndjson", "application/jsonl", "application/x-jsonlines")


@blueprint.post("/batches")
@scope("jobs:write")
def submit() -> Response:
    """Accept a batch, whole or not at all. Every line is checked, and the room for all of them reserved, before the
    first job is written; no job begins before the last is there."""
    here, owner = state(), auth.owner()
    here.refuse_when_full()
    texts = _texts(here)
    if len(texts) > here.settings.max_queued:
        # It never fits: none of it is looked at.
        raise QueueFull(f"a batch may have at most {here.settings.max_queued} jobs on this server", retry_after_s=60.0)
    if 0 < here.limits.queued < len(texts):
        raise OwnerQueueFull(retry_after_s=60.0)
    batch_id, references = new_batch_id(shard=0), References(here, owner)
    jobs = [
        _new_job(here, parse_json(text, place), owner, index, batch_id, references)
        for index, (place, text) in enumerate(in_slices(texts))
    ]
    batch = NewBatch(batch_id, owner, jobs, idempotency_digest(), _digest(texts))
    accepted_id = here.store.stage_batch(batch, max_queued=here.settings.max_queued, limits=here.limits)
    headers = {"Location": f"/batches/{accepted_id}"}
    if accepted_id != batch_id:
        headers["Idempotent-Replayed"] = "true"
        return json_response(_document(here, accepted_id, owner), 200, headers)
    _write(here, batch)
    return json_response(_document(here, batch_id, owner), 202, headers)


@blueprint.get("/batches/<batch_id>")
@scope("jobs:read")
def show(batch_id: str) -> Response:
    """How many of its jobs are in which state."""
    document = _document(state(), batch_id, auth.owner())
    return json_response(document, 200, {} if document["ended"] else {"Retry-After": "1"})


@blueprint.get("/batches/<batch_id>/results")
@scope("jobs:read")
def results(batch_id: str) -> Response:
    """The jobs that have ended, one per line, in the order in which they ended. ``after`` leaves out the first so
    many, so that what came since can be fetched alone. Takes a stream's place; cut where Redis is away."""
    here, owner = state(), auth.owner()
    after = cursor_of(request.args.get("after"), "after")
    here.refuse_streams(owner)
    here.store.batch(batch_id, owner)
    with ExitStack() as entering:
        entering.enter_context(here.slots.one(owner))
        entering.enter_context(STREAMS.labels("batch results").track_inprogress())
        held = entering.pop_all()
    lines = _result_lines(here.store, batch_id, owner, after, Peer(request.environ))
    response = Response(lines, mimetype=ndjson.MEDIA_TYPE, headers={"Cache-Control": "no-store"})
    response.call_on_close(held.close)
    return response


@blueprint.post("/batches/<batch_id>/cancel")
@scope("jobs:write")
def cancel(batch_id: str) -> Response:
    """Cancel what has not ended. What has ended stays as it is."""
    here, owner = state(), auth.owner()
    here.store.batch(batch_id, owner)
    start = 0
    while job_ids := here.store.batch_jobs(batch_id, ended=False, start=start, count=_AT_ONCE):
        here.store.cancel_many(job_ids, owner)
        start += len(job_ids)
    return json_response(_document(here, batch_id, owner))


def _texts(here: State) -> list[tuple[str, memoryview]]:
    """The JSON text of each submission, not yet parsed, and where it stands. How many there are, and how large each
    is, is checked before the first is parsed."""
    most = here.settings.max_batch_jobs
    largest = job_bytes(here.settings.max_body_bytes, here.settings.max_prompt_bytes)
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
    """The lines that are not blank, with their numbers."""
    ends = data.count(b"\n")
    if ends > _LINES_FACTOR * most:
        raise field_problem(
            "body", f"has {ends} lines: at most {_LINES_FACTOR * most} are allowed, blank ones included"
        )
    lines = enumerate(data.split(b"\n"), 1)
    return [(f"line {number}", memoryview(line)) for number, line in in_slices(lines) if line.strip()]


def _new_job(here: State, item: Any, owner: str, index: int, batch_id: str, references: References) -> NewJob:
    place = f"[{index}]"
    submission = parse_submission(item, place)
    new = new_job(here, submission, owner, place=f"{place}.", surface="batches", references=references)
    # In a batch it is a batch job, unless it says otherwise.
    priority = submission.priority if "priority" in submission.model_fields_set else Priority.BATCH
    return replace(new, priority=priority, batch=batch_id, batch_index=index)


def _write(here: State, batch: NewBatch) -> None:
    """Write what is reserved, and let workers have it. All or nothing: what does not get that far is forgotten, here
    or, where this process dies, by the keeper."""
    try:
        for start in range(0, len(batch.jobs), _STAGED_AT_ONCE):
            jobs = batch.jobs[start : start + _STAGED_AT_ONCE]
            here.store.submit_many(jobs, max_queued=here.settings.max_queued, limits=here.limits)
        here.store.seal_batch(batch)
    except Exception as exc:
        if not _is_sealed_after_all(here.store, batch, exc):
            if isinstance(exc, StoreUnavailable | BatchNotFound):
                raise _not_accepted(exc) from exc
            raise
    SUBMITTED.labels("batches").inc(len(batch.jobs))
    for _ in range(min(len(batch.jobs), _BELLS)):
        # For as many as may find a free slot; who finishes a job takes the next, and the keeper rings for the rest.
        here.bell.ring(batch.id)


def _is_sealed_after_all(store: JobStore, batch: NewBatch, exc: Exception) -> bool:
    """Forget the batch, unless the answer was lost that it is complete."""
    try:
        return not store.drop_batch(batch.id)
    except StoreUnavailable:
        if isinstance(exc, OutcomeUnknown):
            detail = "the batch may or may not have been accepted: look it up, or send it again with an Idempotency-Key"
            raise Problem(503, "Outcome unknown", detail, headers=retry_after(2), batch=batch.id) from exc
        return False


def _not_accepted(exc: StoreUnavailable | BatchNotFound) -> Problem:
    detail = "the batch was not accepted; nothing of it is kept"
    title = "Store full" if isinstance(exc, StoreFull) else "Store unavailable"
    return Problem(503, title, detail, headers=retry_after(getattr(exc, "retry_after_s", 2.0)))


def _document(here: State, batch_id: str, owner: str) -> dict[str, Any]:
    record = here.store.batch(batch_id, owner)
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
