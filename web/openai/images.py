"""``POST /v1/images/generations``: one request to the upstream, as a job that waits in the same queue."""

from __future__ import annotations

from typing import Any, NotRequired

from flask import Blueprint, Response
from typing_extensions import TypedDict

from web.auth import scope
from web.contract import LOCATION, REPLAYED, SPOOL_JOB, Answer, Contract, json_content
from web.intake.idempotency import IDEMPOTENCY_KEY
from web.intake.spool_fields import ON_DISCONNECT
from web.openai.endpoint_requests import ImagesRequest, draft_of
from web.openai.fields import parse
from web.openai.whole_results import whole_result
from web.services import state

blueprint = Blueprint("openai_images", __name__)


class Picture(TypedDict):
    """One picture: its base64 bytes, or the upstream's link to it."""

    b64_json: NotRequired[str | None]
    url: NotRequired[str | None]
    revised_prompt: NotRequired[str | None]


class Pictures(TypedDict):
    """The upstream's pictures."""

    created: int
    data: list[Picture]
    usage: NotRequired[dict[str, Any] | None]


@blueprint.post("/v1/images/generations")
@scope("jobs:write")
@Contract(
    body=[json_content(ImagesRequest, lambda: {"model": "demo", "prompt": "A spool of thread"})],
    headers=[IDEMPOTENCY_KEY, ON_DISCONNECT],
    answers={
        200: Answer(
            "The pictures.",
            [json_content(Pictures, lambda: {"created": 1795944000, "data": [{"b64_json": "iVBORw0KGgo="}]})],
            [LOCATION, SPOOL_JOB, REPLAYED],
        )
    },
    errors=[409, 413, 415, 422, 429, 502, 503, 504],
)
def create() -> Response:
    """OpenAI's pictures. The job continues if the client disconnects."""
    asked, idempotency = parse(ImagesRequest)
    asked.check()
    return whole_result(draft_of(state(), asked, idempotency))
