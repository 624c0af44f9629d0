"""``/batches``: many prompts at once, in a simple form: a JSON array or JSONL in, counts, JSONL results out, cancel."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from flask import Blueprint, Response, request

from spool.entries import rfc3339
from spool.errors import JobGone, StoreUnavailable
from spool.jobs import NewJob, Priority, Status, new_batch_id
from spool.store import JobStore
from web import auth, json_text, ndjson
from web.auth import scope
from web.job_document import job_pieces
from web.json_response import json_response
from web.metrics import STREAMS, SUBMITTED
from web.problems import Problem, field_problem, retry_after
from web.slices import in_slices
from web.state import State, state
from web.stream import cursor_of
from web.streams import Peer
from web.submissions import body, job_bytes, new_job, parse_json, parse_submission

blueprint = Blueprint("batches", __name__)

_AT_ONCE = 200
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
    """Accept a batch. Every line is checked before the first job is written."""
    here, owner = state(), auth.owner()
    here.refuse_when_full()
    texts = _texts(here)
    batch_id = new_batch_id(shard=0)
    jobs = [
        _new_job(here, parse_json(text, place), owner, index, batch_id)
        for index, (place, text) in enumerate(in_slices(texts))
    ]
    here.store.open_batch(
        batch_id,
        owner,
        len(jobs),
        ttl_s=max(job.ttl_s for job in jobs),
        timeout_s=max(job.timeout_s for job in jobs),
    )
    _submit_all(here, jobs, batch_id)
    return json_response(_document(here, batch_id, owner), 202, {"Location": f"/batches/{batch_id}"})


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
    here.refuse_streams()
    here.store.batch(batch_id, owner)
    with ExitStack() as entering:
        entering.enter_context(here.slots.one())
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
    if request.mimetype == "application/json":
        try:
            texts = [(f"[{at}]", text) for at, text in enumerate(json_text.elements(body(), most))]
        except json_text.Refused as exc:
            raise field_problem("body", str(exc)) from exc
    elif request.mimetype in _JSONL:
        texts = _lines(body(), most)
    else:
        accept = {"Accept": ", ".join(("application/json", *_JSONL))}
        raise Problem(415, "Wrong media type", f"send application/json or {_JSONL[0]}", headers=accept)
    if not 1 <= len(texts) <= most:
        raise field_problem("body", f"must have 1 to {most} submissions")
    largest = job_bytes(here.settings.max_body_bytes, here.settings.max_prompt_bytes)
    for place, text in texts:
        if len(text) > largest:
            raise field_problem(place, f"is larger than {largest} bytes", status=413)
    return texts


def _lines(data: bytes, most: int) -> list[tuple[str, memoryview]]:
    """The lines that are not blank, with their numbers."""
    ends = data.count(b"\n")
    if ends > _LINES_FACTOR * most:
        raise field_problem(
            "body", f"has {ends} lines: at most {_LINES_FACTOR * most} are allowed, blank ones included"
        )
    lines = enumerate(data.split(b"\n"), 1)
    return [(f"line {number}", memoryview(line)) for number, line in in_slices(lines) if line.strip()]


def _new_job(here: State, item: Any, owner: str, index: int, batch_id: str) -> NewJob:
    place = f"[{index}]"
    submission = parse_submission(item, place)
    new = new_job(here, submission, owner, place=f"{place}.", surface="batches")
    # In a batch it is a batch job, unless it says otherwise.
    priority = submission.priority if "priority" in submission.model_fields_set else Priority.BATCH
    return replace(new, priority=priority, batch=batch_id, batch_index=index)


def _submit_all(here: State, jobs: list[NewJob], batch_id: str) -> None:
    room = here.settings.max_queued
    try:
        for start in range(0, len(jobs), _AT_ONCE):
            here.store.submit_many(jobs[start : start + _AT_ONCE], max_queued=room)
            SUBMITTED.labels("batches").inc(len(jobs[start : start + _AT_ONCE]))
        for _ in range(min(len(jobs), _BELLS)):
            # For as many as may find a free slot; who finishes a job takes the next, and the keeper rings for the rest.
            here.bell.ring(batch_id)
    except Exception as exc:
        # All or nothing: what was written before the trouble is cancelled, as far as Redis can be reached.
        _withdraw(here.store, jobs)
        if isinstance(exc, StoreUnavailable):
            detail = (
                "the batch was not accepted as a whole; what was written of it is cancelled, or ends at its deadline"
            )
            headers = retry_after(exc.retry_after_s)
            raise Problem(503, "Store unavailable", detail, headers=headers, batch=batch_id) from exc
        raise


def _withdraw(store: JobStore, jobs: list[NewJob]) -> None:
    try:
        for start in range(0, len(jobs), _AT_ONCE):
            part = jobs[start : start + _AT_ONCE]
            store.cancel_many([job.id for job in part], part[0].owner)
    except StoreUnavailable:
        return


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
