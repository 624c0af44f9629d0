"""``/batches/{id}/stream``, ``entries`` and ``results``: the log of a batch, read like a job's."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from typing import Annotated, Any

import orjson
from flask import Blueprint, Response, request
from pydantic import Field
from typing_extensions import TypedDict

from spool.batches.batch import Batch, BatchState
from spool.errors import BatchNotFound, JobGone, StoreUnavailable, UndecodableRecord
from spool.jobs.entries import decode_all
from spool.jobs.job import Job
from web import auth
from web.arguments import DIGITS, LAST_EVENT_ID, LATEST, After, Cursor, Query, query, requested_place
from web.auth import scope
from web.contract import LOCATION, Answer, Content, Contract, json_content
from web.delivery.formats import ndjson, sse
from web.delivery.found_entries import WAIT_AT_MOST_S, Found, Waiting, poll, refuse_to_wait
from web.delivery.streaming import streamed
from web.examples import BATCH_ID, JOB
from web.metrics import STREAMS
from web.native.batch_document import ResultDocument, result_document
from web.native.beginning import Heartbeats
from web.native.entry_document import (
    Attached,
    BatchEntryDocument,
    GapDocument,
    GapMessage,
    Gone,
    Heartbeat,
    Line,
    Notice,
    Reconnect,
    Unavailable,
)
from web.native.job_document import job_pieces
from web.native.readable_batch import after_of, logged
from web.negotiation import best_media_type
from web.problems import Problem, answer_at
from web.server.peer import cut
from web.services import State as Services
from web.services import state

blueprint = Blueprint("batch_log", __name__)
log = logging.getLogger("spool.web")

_MEDIA_TYPES = (sse.MEDIA_TYPE, ndjson.MEDIA_TYPE)
_LINES_AT_ONCE = 10
_TEXT_BYTES = 16 * 1024
"""Bytes of each job's text read with its record, of an older batch; the rest is read when it is sent."""
_TEMPORARY = frozenset({429, 503})


LINE: Line = {
    "id": 1,
    "kind": "line",
    "at": "2026-11-21T09:30:00.123Z",
    "batch_index": 0,
    "job": JOB.id,
    "status": "succeeded",
    "content": "Because of Rayleigh scattering.",
    "error": None,
}
_LIST = {"entries": [LINE], "next": 1, "ended": False, "state": "in_progress", "gap": None}
_MESSAGES = BatchEntryDocument | Attached | GapMessage | Gone | Heartbeat | Notice | Reconnect | Unavailable
_FORMS = {sse.MEDIA_TYPE: sse.SSE, ndjson.MEDIA_TYPE: ndjson.Ndjson()}


def _result_example() -> bytes:
    batch = Batch(BATCH_ID, JOB.owner, BatchState.IN_PROGRESS, 1, {}, 1795253400123, expires_ms=1795858200123)
    return orjson.dumps(result_document(LINE, batch)) + b"\n"


class Results(Query):
    """Which results to answer with."""

    after: Cursor = Field(0, description="The `cursor` of the last result that the client has; 0 for all.")


class LogQuery(After, Heartbeats):
    """The query of a batch's stream."""


class EntriesQuery(After, Waiting):
    """Which entries to answer with, and how long to wait for them."""

    limit: Annotated[int, Field(ge=1, le=1000), DIGITS] = Field(100, description="The most entries.")


class LineList(TypedDict):
    """Entries, and the cursor for the next request. ``ended``: the log has no more."""

    entries: list[BatchEntryDocument]
    next: int
    ended: bool
    state: str
    gap: GapDocument | None


def _unavailable(problem: Problem) -> Response | None:
    """For temporary refusals, a 200 that EventSource retries: it stops for good on any 4xx or 5xx."""
    if problem.status in _TEMPORARY and best_media_type(_MEDIA_TYPES) == sse.MEDIA_TYPE:
        return sse.unavailable_response(problem.title, problem.detail)
    return None


answer_at("batch_log.stream", _unavailable)


@blueprint.get("/batches/<batch_id>/stream")
@scope("batches", shared="results", is_stream=True)
@Contract(
    query=LogQuery,
    headers=[LAST_EVENT_ID],
    answers={
        200: Answer(
            "The entries after the cursor, until the batch ends; by `Accept`.",
            [
                Content(
                    media_type,
                    item=_MESSAGES,
                    example=lambda form=form: form.entry(1, orjson.dumps(LINE)),  # type: ignore[misc]
                )
                for media_type, form in _FORMS.items()
            ],
            [LOCATION],
        ),
        204: Answer("Server-sent events: the batch has ended, and the client has all of its log."),
    },
    errors=[404, 406, 409, 422, 429, 503],
)
def stream(batch_id: str) -> Response:
    """Stream the batch's log: an entry for each line when it ends, and a terminal one. Reconnects resume after
    ``Last-Event-ID`` or ``after``."""
    place, asked, services = requested_place(), query(LogQuery), state()
    batch = logged(services, batch_id, auth.owner())
    media_type = best_media_type(_MEDIA_TYPES)
    if media_type is None:
        raise Problem(406, "Not acceptable", f"accept one of {', '.join(_MEDIA_TYPES)}, or send no Accept")
    after = after_of(batch, place)
    if media_type == sse.MEDIA_TYPE and batch.is_ended and after == batch.last_entry:
        # 204 stops an EventSource for good.
        return Response(status=204, headers={"Cache-Control": "no-store"})
    heartbeat = "event" if asked.heartbeat == "event" else ""
    return streamed(
        batch.as_log(),
        after,
        media_type,
        heartbeat=heartbeat,
        is_relative=place < 0 or place == LATEST,
        location=f"/batches/{batch_id}",
    )


@blueprint.get("/batches/<batch_id>/entries")
@scope("batches", shared="results", is_stream=True)
@Contract(
    query=EntriesQuery,
    answers={
        200: Answer(
            "The entries after `after`, perhaps none.",
            [json_content(LineList, lambda: _LIST)],
        )
    },
    errors=[404, 409, 422, 429, 503],
)
def entries(batch_id: str) -> Response:
    """Long polling: the entries after ``after``, at once if there are any, otherwise once one comes within ``wait``
    seconds."""
    asked, services = query(EntriesQuery), state()
    wait_s = min(asked.wait_s, WAIT_AT_MOST_S)
    refuse_to_wait(services, wait_s)
    batch = logged(services, batch_id, auth.owner())
    after, found = after_of(batch, asked.after), Found(asked.limit)
    poll(services, batch.as_log(), after, found, wait_s)
    return Response(
        found.body(after, {"state": batch.state}), mimetype="application/json", headers={"Cache-Control": "no-store"}
    )


@blueprint.get("/batches/<batch_id>/results")
@scope("batches", shared="results", is_stream=True)
@Contract(
    query=Results,
    answers={
        200: Answer(
            "The lines that have ended, one per line.",
            [Content(ndjson.MEDIA_TYPE, item=ResultDocument, example=_result_example)],
        )
    },
    errors=[404, 409, 429, 503],
)
def results(batch_id: str) -> Response:
    """The lines that have ended, one per line, in the order of their ends. ``after`` skips those that the client has.
    Takes a stream slot. The connection is cut if Redis fails."""
    services, owner, after = state(), auth.owner(), query(Results).after
    services.refuse_streams(owner)
    batch = services.batches.look(batch_id, owner)
    with ExitStack() as entering:
        entering.enter_context(services.slots.one(owner))
        tenures, caller = services.authenticator.tenures, auth.caller()
        tenures.take(caller)
        entering.callback(tenures.give_back, caller)
        entering.enter_context(STREAMS.labels("batch results").track_inprogress())
        held = entering.pop_all()
    found = services.result_lines.of(batch_id, after, partial(_result_line, batch))
    pages = map(_page, found) if batch.has_log else _older_pages(services, batch, after)
    lines = _pieces(pages, partial(services.authenticator.is_valid, caller), request.environ)
    response = Response(lines, mimetype=ndjson.MEDIA_TYPE, headers={"Cache-Control": "no-store"})
    response.call_on_close(held.close)
    return response


def _pieces(
    pages: Iterator[Iterator[bytes]], is_valid: Callable[[], bool], environ: Mapping[str, Any]
) -> Iterator[bytes]:
    """The pieces of all pages. The connection is cut if Redis fails, an entry is damaged, or the credential ends."""
    try:
        for page in pages:
            if not is_valid():
                cut(environ)
                return
            yield from page
    except UndecodableRecord:
        log.exception("cannot decode the log of a batch")
        cut(environ)
    except (BatchNotFound, JobGone, StoreUnavailable):
        cut(environ)


def _page(line: bytes) -> Iterator[bytes]:
    yield line


def _result_line(batch: Batch, raw: bytes) -> bytes:
    """The line of an entry; empty for one that is of no line."""
    (entry,) = decode_all([raw])
    return orjson.dumps(result_document(entry, batch)) + b"\n" if entry["kind"] == "line" else b""


def _older_pages(services: Services, batch: Batch, start: int) -> Iterator[Iterator[bytes]]:
    """The ended jobs of a batch that an older version accepted; ``start`` is the number that the client has."""
    store = services.store
    while job_ids := store.batch_jobs(batch.id, ended=True, start=start, count=_LINES_AT_ONCE):
        jobs = store.look_many(job_ids, batch.owner, with_text=True, text_bytes=_TEXT_BYTES)
        start += len(job_ids)
        yield _job_lines(services, jobs)


def _job_lines(services: Services, jobs: list[Job]) -> Iterator[bytes]:
    while jobs:
        yield from job_pieces(services.store, jobs.pop(0))
        yield b"\n"
