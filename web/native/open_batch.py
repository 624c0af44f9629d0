"""Open batches: ``POST /batches`` with an object, then lines in pieces, then a seal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Annotated

import orjson
from flask import Blueprint, Response
from pydantic import Field
from typing_extensions import TypedDict

from spool.batches.line import BadLine, Line
from spool.errors import BatchClosed
from web import auth
from web.auth import scope
from web.contract import REPLAYED, Answer, Content, Contract, json_content
from web.intake.batch import JSONL, json_text, submission_texts
from web.intake.idempotency import IDEMPOTENCY_KEY, Idempotency, LinesDigest, key_of_request
from web.intake.piece import add_piece
from web.json_response import json_response
from web.native.batch_document import BatchDocument, batch_document, batch_example
from web.native.batch_lines import lines_of
from web.native.submission import BatchLine
from web.services import state

blueprint = Blueprint("open_batch", __name__)

_EXAMPLE: list[dict[str, object]] = [{"prompt": "Why is the sky blue?"}, {"prompt": "Why is grass green?"}]


class AddedLines(TypedDict):
    """Lines that are part of the batch: the `batch_index` of the first one, and their number."""

    first: int
    count: int
    batch: BatchDocument


@blueprint.post("/batches/<batch_id>/lines")
@scope("batches")
@Contract(
    body=[
        json_content(Annotated[list[BatchLine], Field(min_length=1)], lambda: _EXAMPLE),
        *(Content(name, item=BatchLine, example=lambda: b"\n".join(map(orjson.dumps, _EXAMPLE))) for name in JSONL),
    ],
    headers=[IDEMPOTENCY_KEY],
    answers={
        200: Answer(
            "The lines are part of the batch.",
            [json_content(AddedLines, lambda: {"first": 0, "count": 2, "batch": batch_example()})],
            [REPLAYED],
        )
    },
    errors=[404, 409, 413, 415, 422, 429, 503],
)
def add(batch_id: str) -> Response:
    """Add lines to an open batch, all or nothing; they may begin at once. A request that is repeated under its
    ``Idempotency-Key`` adds them once, also after the seal. Requests at the same time are added one after the other.
    The body may have ``Content-Encoding: gzip``."""
    services, owner = state(), auth.owner()
    services.refuse_when_full()
    batch = services.batches.look(batch_id, owner)
    if not batch.has_log:
        raise BatchClosed(batch_id, "is of an older version, so no lines can be added")
    key = key_of_request().key
    with ExitStack() as held:
        body = json_text(services, held)
        most = services.settings.max_body_bytes
        texts, digest = list(submission_texts(services, held, body, most)), LinesDigest()
        for _place, text in texts:
            digest.add(text or b"")

        def lines(first: int) -> Iterator[Line | BadLine]:
            return lines_of(services, owner, texts, batch.on_bad_line, LinesDigest(), first)

        added = add_piece(services, batch, lines, Idempotency(key, digest()))
    document: AddedLines = {
        "first": added.first,
        "count": added.count,
        "batch": batch_document(services.batches.look(batch_id, owner)),
    }
    return json_response(document, 200, {"Idempotent-Replayed": "true"} if added.replayed else {})


@blueprint.post("/batches/<batch_id>/seal")
@scope("batches")
@Contract(answers={200: Answer("The batch.", [json_content(BatchDocument, batch_example)])}, errors=[404, 409, 503])
def seal(batch_id: str) -> Response:
    """Seal an open batch: no lines are added from now on, and it ends with its last one. Twice is fine."""
    services, owner = state(), auth.owner()
    services.batches.look(batch_id, owner)
    services.pieces.seal(batch_id, owner)
    return json_response(batch_document(services.batches.look(batch_id, owner)))
