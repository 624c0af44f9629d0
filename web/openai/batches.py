"""``/v1/batches``: a batch of requests in an uploaded file. https://platform.openai.com/docs/api-reference/batch"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

from flask import Blueprint, Response
from pydantic import Field
from typing_extensions import TypedDict

from spool.batches.batch import Batch, BatchState
from web import auth
from web.arguments import DIGITS, Query, query
from web.auth import scope
from web.contract import REPLAYED, Answer, Contract, json_content
from web.delivery.building import building
from web.examples import BATCH_ID, JOB
from web.intake.batch import cancel_batch, create_batch
from web.intake.body import json_body
from web.intake.idempotency import IDEMPOTENCY_KEY, idempotency_of
from web.intake.webhook import stored_webhook
from web.json_response import json_response
from web.openai.batch_input import lines_of_file
from web.openai.batch_request import BatchRequest, parse
from web.openai.batch_resource import BatchObject, as_created, batch_object
from web.problems import Problem
from web.services import state

blueprint = Blueprint("openai_batches", __name__)


class BatchesQuery(Query):
    """Which batches to list."""

    after: Annotated[str, Field(max_length=100)] = Field("", description="The id of the last batch of the page before.")
    limit: Annotated[int, Field(ge=1, le=100), DIGITS] = Field(20, description="The most batches.")


class BatchObjects(TypedDict):
    """Some of the caller's batches, newest first."""

    object: Literal["list"]
    data: list[BatchObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


def _example() -> BatchObject:
    counts = {"queued": 2, "running": 0, "succeeded": 0, "failed": 0, "cancelled": 0, "expired": 0}
    file_id = f"file-1a1fe7d48bb{'0' * 26}"
    return batch_object(
        Batch(
            BATCH_ID,
            JOB.owner,
            BatchState.IN_PROGRESS,
            2,
            counts,
            1795253400123,
            completion_window_s=86_400,
            endpoint="/v1/chat/completions",
            input_file=file_id,
            model="demo",
        )
    )


_BATCH = json_content(BatchObject, _example)


@blueprint.post("/v1/batches")
@scope("batches")
@Contract(
    body=[
        json_content(
            BatchRequest,
            lambda: {name: _example()[name] for name in ("input_file_id", "endpoint", "completion_window")},
        )
    ],
    headers=[IDEMPOTENCY_KEY],
    answers={200: Answer("The batch; its lines are validated.", [_BATCH], [REPLAYED])},
    errors=[409, 413, 415, 422, 429, 503],
)
def create() -> Response:
    """Create a batch of the lines in an uploaded file. A wrong line is no error here: the batch is then ``failed``, and
    lists its number."""
    services, owner = state(), auth.owner()
    services.refuse_when_full()
    data = json_body()
    asked = parse(data)
    lines = lines_of_file(services, owner, asked.input_file_id, asked.endpoint)
    options = asked.options(services.settings.job_ttl_s)
    if asked.spool and asked.spool.webhook:
        allowed = services.settings.webhook_addresses()
        options = replace(options, webhook=stored_webhook(asked.spool.webhook, owner, allowed, "spool.webhook"))
    batch_id, replayed = create_batch(services, owner, lines, options, idempotency_of(data))
    document = batch_object(services.batches.look(batch_id, owner))
    if replayed:
        return json_response(document, 200, {"Idempotent-Replayed": "true"})
    return json_response(as_created(document))


@blueprint.get("/v1/batches")
@scope("batches")
@Contract(
    query=BatchesQuery,
    answers={200: Answer("A page of batches.", [json_content(BatchObjects, lambda: _page([], has_more=False))])},
    errors=[404, 422, 503],
)
def listing() -> Response:
    """List the caller's own batches, newest first."""
    owner, asked, found = auth.owner(), query(BatchesQuery), list[Batch]()
    batches = state().batches
    cursor = batches.cursor_of(asked.after, owner) if asked.after else None
    with building():
        while len(found) < asked.limit:
            page, cursor = batches.newest(owner, limit=asked.limit - len(found), cursor=cursor)
            found += page
            if cursor is None:
                break
        return json_response(_page(found, has_more=cursor is not None))


def _page(batches: list[Batch], *, has_more: bool) -> BatchObjects:
    return {
        "object": "list",
        "data": [batch_object(batch) for batch in batches],
        "first_id": batches[0].id if batches else None,
        "last_id": batches[-1].id if batches else None,
        "has_more": has_more,
    }


@blueprint.get("/v1/batches/<batch_id>")
@scope("batches")
@Contract(answers={200: Answer("The batch.", [_BATCH])}, errors=[404, 409, 503])
def retrieve(batch_id: str) -> Response:
    """Show a batch."""
    return json_response(batch_object(state().batches.look(batch_id, auth.owner())))


@blueprint.post("/v1/batches/<batch_id>/cancel")
@scope("batches")
@Contract(answers={200: Answer("The batch.", [_BATCH])}, errors=[404, 409, 503])
def cancel(batch_id: str) -> Response:
    """Cancel a batch: no line of it begins from now on. Twice is fine. A batch that has ended otherwise stays so."""
    services, owner = state(), auth.owner()
    batch = services.batches.look(batch_id, owner)
    if not batch.is_ended:
        batch = cancel_batch(services, batch_id, owner)
    elif batch.state is not BatchState.CANCELLED:
        raise Problem(409, "Batch ended", f"cannot cancel a batch with status {batch.state.value!r}", batch=batch_id)
    return json_response(batch_object(batch))
