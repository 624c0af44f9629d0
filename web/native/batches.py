"""``/batches``: many prompts in one request. A JSON array or JSONL in; counts, JSONL results and cancel out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Annotated, Any

import orjson
from flask import Blueprint, Response, request
from pydantic import Field
from typing_extensions import TypedDict

from spool.access.caller import Caller
from spool.errors import JobGone, StoreUnavailable
from spool.jobs.entries import rfc3339
from spool.jobs.job import ENDED, Priority, Status
from web import auth
from web.arguments import DIGITS, Cursor, Query, query
from web.auth import scope
from web.contract import LOCATION, REPLAYED, RETRY_AFTER, Answer, Content, Contract, json_content
from web.delivery.formats import ndjson
from web.examples import BATCH_ID, JOB
from web.intake.batch import JSONL, accept_batch, submission_texts
from web.intake.body import parse_json
from web.intake.draft import Draft
from web.intake.idempotency import IDEMPOTENCY_KEY, idempotency_of_lines
from web.intake.references import References
from web.json_response import json_response
from web.metrics import STREAMS
from web.native.job_document import JobDocument, job_document, job_pieces
from web.native.submission import Submission, draft_of
from web.request_ids import origin
from web.server.peer import cut
from web.services import State, state
from web.time_slices import in_slices

blueprint = Blueprint("batches", __name__)

_AT_ONCE = 200
_TEXTS_AT_ONCE = 10
_TEXT_BYTES = 16 * 1024
"""Bytes of each job's text read with its record; the rest is read when it is sent."""


class BatchUrls(TypedDict):
    """The paths of a batch's calls."""

    self: str
    results: str
    cancel: str


class BatchDocument(TypedDict):
    """A batch, and how many of its jobs are in each state."""

    id: str
    owner: str
    created_at: str
    total: int
    counts: dict[str, int]
    ended: bool
    urls: BatchUrls


class Results(Query):
    """Which results to answer with."""

    after: Cursor = Field(0, description="The number of results that the client has; 0 for all.")


class Listing(Query):
    """Which of the caller's batches to list."""

    limit: Annotated[int, Field(ge=1, le=50), DIGITS] = Field(20, description="The most batches.")
    cursor: Annotated[str, Field(pattern="^[0-9]{1,18}$")] | None = Field(
        None, description="The `cursor` of the page before."
    )


class BatchList(TypedDict):
    """Batches, newest first. ``cursor`` leads to the next page; null on the last."""

    batches: list[BatchDocument]
    cursor: str | None
    limit: int


_EXAMPLE: list[dict[str, object]] = [{"prompt": "Why is the sky blue?"}, {"prompt": "Why is grass green?"}]


def _example() -> BatchDocument:
    return _document({"total": 2, "created_ms": 1795253400123, "queued": 2}, BATCH_ID, JOB.owner)


_BATCH = json_content(BatchDocument, _example)


@blueprint.post("/batches")
@scope("batches")
@Contract(
    body=[
        json_content(Annotated[list[Submission], Field(min_length=1)], lambda: _EXAMPLE),
        *(Content(name, item=Submission, example=lambda: b"\n".join(map(orjson.dumps, _EXAMPLE))) for name in JSONL),
    ],
    headers=[IDEMPOTENCY_KEY],
    answers={
        202: Answer("The batch is accepted.", [_BATCH], [LOCATION]),
        200: Answer("The batch that an earlier request made.", [_BATCH], [LOCATION, REPLAYED]),
    },
    errors=[404, 409, 410, 413, 415, 422, 429, 503],
)
def submit() -> Response:
    """Accept a batch, all or nothing. Every line is checked and room for all jobs is reserved before the first job is
    written. No job starts before the last one is written."""
    services, owner = state(), auth.owner()
    services.refuse_when_full()
    texts = submission_texts(services)
    idempotency = idempotency_of_lines(text for _place, text in texts)
    batch_id, replayed = accept_batch(services, owner, _drafts(services, owner, texts), idempotency)
    headers = {"Location": f"/batches/{batch_id}", **({"Idempotent-Replayed": "true"} if replayed else {})}
    return json_response(_batch(services, batch_id, owner), 200 if replayed else 202, headers)


def _drafts(services: State, owner: str, texts: list[tuple[str, memoryview]]) -> Iterator[Draft]:
    references, came_with = References(services, owner), origin()
    for index, (place, text) in enumerate(in_slices(texts)):
        yield draft_of(
            parse_json(text, place),
            owner,
            references,
            surface="batches",
            coalesce_ms=services.settings.batch_coalesce_ms,
            priority=Priority.BATCH,
            place=f"[{index}].",
            origin=came_with,
        )


@blueprint.get("/batches")
@scope("batches")
@Contract(
    query=Listing,
    answers={
        200: Answer(
            "A page of batches.",
            [json_content(BatchList, lambda: {"batches": [_example()], "cursor": None, "limit": 20})],
        )
    },
    errors=[422, 503],
)
def listing() -> Response:
    """List the caller's own batches, newest first. A batch is listed once all of it is accepted, until it expires."""
    owner, asked = auth.owner(), query(Listing)
    page = state().store.newest_batches(owner, limit=asked.limit, cursor=asked.cursor)
    batches = [_document(record, batch_id, owner) for batch_id, record in page.batches.items()]
    document: BatchList = {"batches": batches, "cursor": page.cursor, "limit": asked.limit}
    return json_response(document)


@blueprint.get("/batches/<batch_id>")
@scope("batches", shared="batch")
@Contract(answers={200: Answer("The batch.", [_BATCH], [RETRY_AFTER])}, errors=[404, 409, 503])
def show(batch_id: str) -> Response:
    """The batch with the number of its jobs in each state."""
    document = _batch(state(), batch_id, auth.owner())
    return json_response(document, 200, {} if document["ended"] else {"Retry-After": "1"})


@blueprint.get("/batches/<batch_id>/results")
@scope("batches", shared="results", is_stream=True)
@Contract(
    query=Results,
    answers={
        200: Answer(
            "The jobs that have ended, one per line.",
            [Content(ndjson.MEDIA_TYPE, item=JobDocument, example=lambda: orjson.dumps(job_document(JOB)) + b"\n")],
        )
    },
    errors=[404, 409, 429, 503],
)
def results(batch_id: str) -> Response:
    """The ended jobs, one per line, in the order of their ends. ``after`` skips that many, so that a client can fetch
    only new results. Takes a stream slot. The connection is cut if Redis fails."""
    services, owner, after = state(), auth.owner(), query(Results).after
    services.refuse_streams(owner)
    services.store.batch(batch_id, owner)
    with ExitStack() as entering:
        entering.enter_context(services.slots.one(owner))
        tenures, caller = services.authenticator.tenures, auth.caller()
        tenures.take(caller)
        entering.callback(tenures.give_back, caller)
        entering.enter_context(STREAMS.labels("batch results").track_inprogress())
        held = entering.pop_all()
    lines = _result_lines(services, batch_id, caller, after, request.environ)
    response = Response(lines, mimetype=ndjson.MEDIA_TYPE, headers={"Cache-Control": "no-store"})
    response.call_on_close(held.close)
    return response


@blueprint.post("/batches/<batch_id>/cancel")
@scope("batches")
@Contract(answers={200: Answer("The batch.", [_BATCH])}, errors=[404, 409, 503])
def cancel(batch_id: str) -> Response:
    """Cancel the batch's jobs that have not ended. Ended jobs do not change."""
    services, owner = state(), auth.owner()
    services.store.batch(batch_id, owner)
    start = 0
    while job_ids := services.store.batch_jobs(batch_id, ended=False, start=start, count=_AT_ONCE):
        services.store.cancel_many(job_ids, owner)
        start += len(job_ids)
    return json_response(_batch(services, batch_id, owner))


def _batch(services: State, batch_id: str, owner: str) -> BatchDocument:
    return _document(services.store.batch(batch_id, owner), batch_id, owner)


def _document(record: Mapping[str, Any], batch_id: str, owner: str) -> BatchDocument:
    counts = {status.value: int(record.get(status.value, 0)) for status in Status}
    total, ended = int(record["total"]), sum(counts[status.value] for status in ENDED)
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


def _result_lines(
    services: State, batch_id: str, caller: Caller, start: int, environ: Mapping[str, Any]
) -> Iterator[bytes]:
    store = services.store
    try:
        while job_ids := store.batch_jobs(batch_id, ended=True, start=start, count=_TEXTS_AT_ONCE):
            if not services.authenticator.is_valid(caller):
                cut(environ)
                return
            jobs = store.look_many(job_ids, caller.owner, with_text=True, text_bytes=_TEXT_BYTES)
            start += len(job_ids)
            while jobs:
                yield from job_pieces(store, jobs.pop(0))
                yield b"\n"
    except (JobGone, StoreUnavailable):
        cut(environ)
