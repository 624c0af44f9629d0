"""``/batches``: many prompts in one request. A JSON array or JSONL in; counts, cancel, pause and delete."""

from __future__ import annotations

import math
from contextlib import ExitStack
from datetime import datetime
from typing import Annotated

import orjson
from flask import Blueprint, Response
from pydantic import Field
from typing_extensions import TypedDict

from spool.batches.batch import BatchOptions, BatchState, OnBadLine, Order
from spool.batches.listing import WantedBatches
from web import auth
from web.arguments import DIGITS, NAME_AND_VALUE, Query, name_and_value, query
from web.auth import scope
from web.contract import LOCATION, REPLAYED, RETRY_AFTER, Answer, Content, Contract, json_content
from web.delivery.building import building
from web.intake.batch import JSONL, cancel_batch, create_batch, json_text, submission_texts
from web.intake.body import parse_json
from web.intake.idempotency import IDEMPOTENCY_KEY, LinesDigest, idempotency_of, key_of_request
from web.intake.shapes import checked
from web.intake.webhook import EVENTS_HEADER, WEBHOOK_HEADER, stored_webhook, webhook_of_headers
from web.json_response import json_response
from web.native.batch_document import BatchDocument, batch_document, batch_example
from web.native.batch_lines import lines_of
from web.native.batch_options import MetadataField, OpenBatch, is_object, options_of_open, window_of
from web.native.submission import BatchLine
from web.services import state
from web.times import Time

blueprint = Blueprint("batches", __name__)

_METADATA_CHARACTERS = 20_000


class BatchQuery(Query):
    """How a batch is run."""

    on_bad_line: OnBadLine = Field(
        OnBadLine.REFUSE,
        description="What a line that cannot run does: `refuse` the request (nothing is stored), `fail` the batch, or "
        "`skip`: the other lines run, and the line is a result with an error.",
    )
    completion_window: Annotated[str, Field(max_length=20)] | None = Field(
        None, description="The time within which all lines must end, as in `24h`, `90m`, `10s`; the rest expires then."
    )
    metadata: Annotated[str, Field(max_length=_METADATA_CHARACTERS)] | None = Field(
        None, description="The caller's own names and texts, as a JSON object."
    )
    order: Order = Field(
        Order.INPUT,
        description="The order in which lines begin: that of the `input`, or by `prompt`: those with the same system "
        "prompt together, for an upstream with a prefix cache.",
    )
    keep_jobs: bool = Field(
        False,
        description="`1`: jobs stay after their ends like others; else for a minute. Results stay in any case.",
    )


class Listing(Query):
    """Which of the caller's batches to list."""

    status: BatchState | None = Field(None, description="Only batches in this state.")
    metadata: Annotated[str, Field(pattern=NAME_AND_VALUE)] | None = Field(
        None, description="Only batches with this metadata: `name`, or `name=value`, exactly.", examples=["of=monday"]
    )
    created_after: Time | None = Field(None, description="Only batches created at this time or later.")
    created_before: Time | None = Field(None, description="Only batches created before this time.")
    limit: Annotated[int, Field(ge=1, le=50), DIGITS] = Field(20, description="The most batches.")
    cursor: Annotated[str, Field(pattern="^[0-9]{1,18}$")] | None = Field(
        None, description="The `cursor` of the page before."
    )


class BatchList(TypedDict):
    """Batches, newest first. ``cursor`` leads to the next page; null on the last. A page of filtered batches may have
    few or none and a ``cursor``: an answer examines at most 500 batches."""

    batches: list[BatchDocument]
    cursor: str | None
    limit: int


_EXAMPLE: list[dict[str, object]] = [{"prompt": "Why is the sky blue?"}, {"prompt": "Why is grass green?"}]


_BATCH = json_content(BatchDocument, batch_example)


@blueprint.post("/batches")
@scope("batches")
@Contract(
    query=BatchQuery,
    body=[
        json_content(Annotated[list[BatchLine], Field(min_length=1)] | OpenBatch, lambda: _EXAMPLE),
        *(Content(name, item=BatchLine, example=lambda: b"\n".join(map(orjson.dumps, _EXAMPLE))) for name in JSONL),
    ],
    headers=[IDEMPOTENCY_KEY, WEBHOOK_HEADER, EVENTS_HEADER],
    answers={
        202: Answer("The batch is accepted.", [_BATCH], [LOCATION]),
        200: Answer("The batch that an earlier request made.", [_BATCH], [LOCATION, REPLAYED]),
    },
    errors=[404, 409, 410, 413, 415, 422, 429, 503],
)
def submit() -> Response:
    """Accept a batch, all or nothing. Every line is checked and room for all jobs is reserved; then the batch is
    written in one step. Its lines become jobs a window at a time. JSON lines are stored while they arrive, and may be
    as large as a file. The body may have ``Content-Encoding: gzip``. A JSON object opens a batch, to which lines are
    added until it is sealed."""
    services, owner, options = state(), auth.owner(), _options()
    services.refuse_when_full()
    digest, idempotency = LinesDigest(), key_of_request()
    with ExitStack() as held:
        body = json_text(services, held)
        data = parse_json(body, "body") if body is not None and is_object(body) else {}
        if "open" in data:
            opened = options_of_open(data, options)
            batch_id, replayed = create_batch(services, owner, (), opened, idempotency_of(data))
        else:
            texts = submission_texts(services, held, body)
            lines = lines_of(services, owner, texts, options.on_bad_line, digest)
            batch_id, replayed = create_batch(services, owner, lines, options, idempotency, digest=digest)
    headers = {"Location": f"/batches/{batch_id}", **({"Idempotent-Replayed": "true"} if replayed else {})}
    document = batch_document(services.batches.look(batch_id, owner))
    return json_response(document, 200 if replayed else 202, headers)


def _options() -> BatchOptions:
    asked = query(BatchQuery)
    named, webhook = webhook_of_headers(), ""
    if named is not None:
        allowed = state().settings.webhook_addresses()
        webhook = stored_webhook(named, auth.owner(), allowed, WEBHOOK_HEADER.name)
    return BatchOptions(
        on_bad_line=asked.on_bad_line,
        completion_window_s=window_of(asked.completion_window),
        keep_jobs=asked.keep_jobs,
        order=asked.order,
        metadata=_metadata(asked.metadata),
        webhook=webhook,
    )


def _metadata(text: str | None) -> dict[str, str]:
    """The metadata of the query. Raises a 422 ``Problem``."""
    return {} if text is None else checked(MetadataField, {"metadata": parse_json(text.encode(), "metadata")}).metadata


@blueprint.get("/batches")
@scope("batches")
@Contract(
    query=Listing,
    answers={
        200: Answer(
            "A page of batches.",
            [json_content(BatchList, lambda: {"batches": [batch_example()], "cursor": None, "limit": 20})],
        )
    },
    errors=[422, 503],
)
def listing() -> Response:
    """List the caller's own batches, newest first, or those that the filters want. A batch is listed once all of it is
    accepted, until it expires."""
    owner, asked = auth.owner(), query(Listing)
    wanted = WantedBatches(
        asked.status, name_and_value(asked.metadata), _ms(asked.created_after), _ms(asked.created_before)
    )
    with building():
        found, cursor = state().batches.newest(owner, limit=asked.limit, cursor=asked.cursor, wanted=wanted)
        document: BatchList = {"batches": list(map(batch_document, found)), "cursor": cursor, "limit": asked.limit}
        return json_response(document)


def _ms(time: datetime | None) -> int | None:
    """The first millisecond that is not before the time; a time that a cursor cannot name counts as the nearest one."""
    return None if time is None else max(0, math.ceil(time.timestamp() * 1000))


@blueprint.get("/batches/<batch_id>")
@scope("batches", shared="batch")
@Contract(answers={200: Answer("The batch.", [_BATCH], [RETRY_AFTER])}, errors=[404, 409, 503])
def show(batch_id: str) -> Response:
    """The batch with the number of its lines in each state."""
    batch = state().batches.look(batch_id, auth.owner())
    return json_response(batch_document(batch), 200, {} if batch.is_ended else {"Retry-After": "1"})


@blueprint.post("/batches/<batch_id>/cancel")
@scope("batches")
@Contract(answers={200: Answer("The batch.", [_BATCH])}, errors=[404, 409, 503])
def cancel(batch_id: str) -> Response:
    """Cancel the batch's lines that have not ended: none begins from now on. Ended lines do not change."""
    return json_response(batch_document(cancel_batch(state(), batch_id, auth.owner())))


@blueprint.post("/batches/<batch_id>/pause")
@scope("batches")
@Contract(answers={200: Answer("The batch.", [_BATCH])}, errors=[404, 409, 503])
def pause(batch_id: str) -> Response:
    """Pause the batch: no more of its lines become jobs. Those that wait in the queue or run go on."""
    return _paused(batch_id, is_paused=True)


@blueprint.post("/batches/<batch_id>/resume")
@scope("batches")
@Contract(answers={200: Answer("The batch.", [_BATCH])}, errors=[404, 409, 503])
def resume(batch_id: str) -> Response:
    """Resume a paused batch."""
    return _paused(batch_id, is_paused=False)


def _paused(batch_id: str, *, is_paused: bool) -> Response:
    services, owner = state(), auth.owner()
    services.batches.pause(batch_id, owner, is_paused=is_paused)
    return json_response(batch_document(services.batches.look(batch_id, owner)))


@blueprint.delete("/batches/<batch_id>")
@scope("batches")
@Contract(answers={204: Answer("The batch is deleted.")}, errors=[404, 409, 503])
def delete(batch_id: str) -> Response:
    """Delete a batch that has ended, with its results. Jobs that it has kept stay."""
    state().batches.delete(batch_id, auth.owner())
    return Response(status=204)
