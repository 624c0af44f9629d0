"""``POST /v1/embeddings``: one request to the upstream, as a job that waits in the same queue."""

from __future__ import annotations

from typing import Literal

from flask import Blueprint, Response
from typing_extensions import TypedDict

from web.auth import scope
from web.contract import LOCATION, REPLAYED, SPOOL_JOB, Answer, Contract, json_content
from web.intake.idempotency import IDEMPOTENCY_KEY
from web.intake.spool_fields import ON_DISCONNECT
from web.openai.endpoint_requests import EmbeddingsRequest, draft_of
from web.openai.fields import parse
from web.openai.whole_results import whole_result
from web.services import state

blueprint = Blueprint("openai_embeddings", __name__)


class Embedding(TypedDict):
    """The embedding of one input: numbers, or with ``base64`` their 4-byte floats, little-endian."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class EmbeddingsUsage(TypedDict):
    """The tokens of all inputs."""

    prompt_tokens: int
    total_tokens: int


class Embeddings(TypedDict):
    """The upstream's embeddings, in the order of the inputs."""

    object: Literal["list"]
    model: str
    data: list[Embedding]
    usage: EmbeddingsUsage


def _example() -> Embeddings:
    embedding: Embedding = {"object": "embedding", "index": 0, "embedding": [0.6, -0.8]}
    usage: EmbeddingsUsage = {"prompt_tokens": 2, "total_tokens": 2}
    return {"object": "list", "model": "demo", "data": [embedding], "usage": usage}


@blueprint.post("/v1/embeddings")
@scope("jobs:write")
@Contract(
    body=[json_content(EmbeddingsRequest, lambda: {"model": "demo", "input": ["Hello", "world"]})],
    headers=[IDEMPOTENCY_KEY, ON_DISCONNECT],
    answers={
        200: Answer("The embeddings.", [json_content(Embeddings, _example)], [LOCATION, SPOOL_JOB, REPLAYED]),
    },
    errors=[409, 413, 415, 422, 429, 502, 503, 504],
)
def create() -> Response:
    """OpenAI's embeddings. The job continues if the client disconnects."""
    asked, idempotency = parse(EmbeddingsRequest)
    asked.check()
    return whole_result(draft_of(state(), asked, idempotency))
