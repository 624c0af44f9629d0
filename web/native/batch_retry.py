"""``POST /batches/{id}/retry``: the lines of a batch that did not succeed, as a new batch."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256

import orjson
from flask import Blueprint, Response

from spool.batches.batch import Batch, BatchOptions, OnBadLine
from spool.batches.line import Line, is_bad, job_of
from spool.errors import BatchNotEnded
from web import auth
from web.auth import scope
from web.contract import LOCATION, REPLAYED, Answer, Contract, json_content
from web.intake.batch import create_batch
from web.intake.idempotency import Idempotency
from web.json_response import json_response
from web.native.batch_document import BatchDocument, batch_document, batch_example
from web.problems import Problem
from web.services import State, state
from web.time_slices import in_slices

blueprint = Blueprint("batch_retry", __name__)

_BATCH = json_content(BatchDocument, batch_example)


@blueprint.post("/batches/<batch_id>/retry")
@scope("batches")
@Contract(
    answers={
        202: Answer("The new batch.", [_BATCH], [LOCATION]),
        200: Answer("The batch that an earlier retry of this batch made.", [_BATCH], [LOCATION, REPLAYED]),
    },
    errors=[404, 409, 422, 429, 503],
)
def retry(batch_id: str) -> Response:
    """Run the lines of an ended batch that failed, were cancelled or expired once more, as a new batch. They keep their
    ``custom_id`` and ``batch_index``. Lines that are not valid are left out. There is one retry of a batch, however
    often it is requested: retry the new batch for what fails again."""
    services, owner = state(), auth.owner()
    services.refuse_when_full()
    batch = services.batches.look(batch_id, owner)
    if not batch.has_log:
        raise Problem(409, "No log", "an older version accepted this batch; submit its lines again", batch=batch_id)
    if not batch.is_ended:
        raise BatchNotEnded(batch_id)
    wanted = _unsuccessful(services, batch)
    if not wanted:
        raise Problem(409, "Nothing to retry", "no line that could run is without success", batch=batch_id)
    # No Idempotency-Key of a client has this digest: keys are printable.
    idempotency = Idempotency(sha256(f"\nretry {batch_id}".encode()).hexdigest()[:32], batch_id)
    lines = in_slices(_lines(services, batch, wanted))
    new_id, replayed = create_batch(services, owner, lines, _options(services, batch), idempotency)
    headers = {"Location": f"/batches/{new_id}", **({"Idempotent-Replayed": "true"} if replayed else {})}
    document = batch_document(services.batches.look(new_id, owner))
    return json_response(document, 200 if replayed else 202, headers)


def _unsuccessful(services: State, batch: Batch) -> set[int]:
    """The indexes of the lines that could run and did not succeed."""
    found = set[int]()
    for _id, raw in in_slices(services.batches.each_result(batch.id)):
        entry = orjson.loads(raw)
        is_line = entry["kind"] == "line" and entry.get("batch_index") is not None
        # The error of a line that is not valid has its number.
        if is_line and entry["status"] != "succeeded" and "line" not in (entry.get("error") or {}):
            found.add(entry["batch_index"])
    return found


def _lines(services: State, batch: Batch, wanted: set[int]) -> Iterator[Line]:
    for fields in services.batches.lines(batch.id, wanted.__contains__):
        if not is_bad(fields):
            yield Line(fields["index"], job_of(fields, batch.id, batch.owner), fields["custom_id"])


def _options(services: State, batch: Batch) -> BatchOptions:
    return BatchOptions(
        on_bad_line=OnBadLine.SKIP,
        completion_window_s=batch.completion_window_s,
        keep_jobs=batch.keep_jobs,
        metadata=batch.metadata,
        surface=batch.surface,
        endpoint=batch.endpoint,
        input_file=batch.input_file,
        webhook=batch.webhook,
        ttl_s=services.settings.job_ttl_s,
    )
