"""``/v1/responses/compact`` and ``/v1/responses/input_tokens``: a conversation made shorter, and its size.

A compaction is a job that asks the model for a summary. The summary is sealed (``spool.access.sealing``), so it
outlives its job, and the client can send it instead of the conversation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import orjson
from flask import Blueprint, Response
from typing_extensions import TypedDict

from spool.jobs import conversation
from spool.jobs.conversation import given
from web import auth
from web.auth import scope
from web.contract import LOCATION, REPLAYED, SPOOL_JOB, Answer, Contract, json_content
from web.delivery.failures import CANCELLED, failure_of
from web.delivery.waiting import wait_for_all
from web.examples import JOB
from web.folds import CLIENT_LEFT
from web.intake.accept import accept
from web.intake.draft import Draft
from web.intake.errors_after_acceptance import accepted
from web.intake.idempotency import IDEMPOTENCY_KEY
from web.json_response import json_response
from web.limits.streams import Slot
from web.openai.failures import problem_of_failure
from web.openai.fields import parse
from web.openai.listed_items import items_of
from web.openai.response_draft import PREFIX, draft_of
from web.openai.response_request import ResponsesRequest
from web.openai.response_resource import usage_of
from web.services import state

blueprint = Blueprint("openai_compaction", __name__)

_BYTES_A_TOKEN = 4
_PROMPT = """Summarise the conversation so far for another model that will go on with it and sees nothing else of it \
but the user's messages. Keep the goal, the decisions with their reasons, the results of tools that are still needed, \
file names and identifiers exactly as they are, and what is left to do. Answer with the summary alone."""
_TOOLS = ("tools", "tool_choice", "parallel_tool_calls", "response_format")
_NO_USAGE: Mapping[str, Any] = {"input_tokens": 0, "output_tokens": 0}


class Compacted(TypedDict):
    """A compacted conversation: the user's messages, and an item that stands for everything else."""

    id: str
    object: Literal["response.compaction"]
    created_at: int
    output: list[dict[str, Any]]
    usage: Mapping[str, Any]


class InputTokens(TypedDict):
    """The tokens of a request's input."""

    object: Literal["response.input_tokens"]
    input_tokens: int


def _example_body() -> dict[str, Any]:
    return {"model": "demo", "input": "Why is the sky blue?"}


def _example() -> Compacted:
    return {
        "id": f"{PREFIX}{JOB.id}",
        "object": "response.compaction",
        "created_at": int(JOB.created_at),
        "output": [{"type": "compaction", "id": f"cmp_{JOB.id}", "encrypted_content": "spool1.…"}],
        "usage": usage_of(_NO_USAGE),
    }


@blueprint.post("/v1/responses/compact")
@scope("jobs:write")
@Contract(
    body=[json_content(ResponsesRequest, _example_body)],
    headers=[IDEMPOTENCY_KEY],
    answers={200: Answer("The items.", [json_content(Compacted, _example)], [LOCATION, SPOOL_JOB, REPLAYED])},
    errors=[404, 409, 410, 413, 415, 422, 429, 502, 503, 504],
)
def compact() -> Response:
    """Compact a conversation: the answer's items stand for all of it in a later request."""
    services = state()
    asked, idempotency = parse(ResponsesRequest)
    asked.check()
    draft = _summarising(draft_of(services, asked, idempotency)[0])
    sealing = services.sealing.load()
    with Slot(services.slots) as slot:
        submitted = accept(services, draft, slot)
        job, answer = submitted.job, conversation.Answer(submitted.job.id)
        with accepted(submitted, f"/v1/responses/{PREFIX}{job.id}") as headers:
            if not wait_for_all(services, job, answer):
                return Response(status=CLIENT_LEFT)
    if answer.finish_reason is None:
        raise problem_of_failure(failure_of(answer.error or CANCELLED), headers)
    conversation_so_far = [*draft.earlier.messages, *draft.messages[:-1]]
    from_user = [message for message in conversation_so_far if message["role"] == "user"]
    summary = {
        "type": "compaction",
        "id": f"cmp_{job.id}",
        "encrypted_content": sealing.seal(auth.owner(), answer.text),
    }
    compacted: Compacted = {
        "id": f"{PREFIX}{job.id}",
        "object": "response.compaction",
        "created_at": int(job.created_at),
        "output": [*items_of(from_user, job.id), summary],
        "usage": usage_of(answer.usage or _NO_USAGE),
    }
    return json_response(compacted, 200, headers)


@blueprint.post("/v1/responses/input_tokens")
@scope("jobs:write")
@Contract(
    body=[json_content(ResponsesRequest, _example_body)],
    answers={200: Answer("An estimate.", [json_content(InputTokens, lambda: _counted(4))])},
    errors=[404, 409, 410, 413, 415, 422, 503],
)
def input_tokens() -> Response:
    """Estimate the tokens of a request's input, with its earlier turns, as a quarter of its bytes: Spool has no
    tokenizer of the model."""
    asked, idempotency = parse(ResponsesRequest)
    asked.check()
    draft = draft_of(state(), asked, idempotency)[0]
    messages = [*draft.earlier.messages, *draft.messages]
    prompt = [given({"instructions": draft.instructions, "messages": messages}), draft.params.get("tools", [])]
    return json_response(_counted(len(orjson.dumps(prompt))))


def _counted(size: int) -> InputTokens:
    return {"object": "response.input_tokens", "input_tokens": max(1, size // _BYTES_A_TOKEN)}


def _summarising(draft: Draft) -> Draft:
    """The draft of a job that summarises what the request holds. The model gets no tools, or it might call one."""
    params = {name: value for name, value in draft.params.items() if name not in _TOOLS}
    messages = [*draft.messages, {"role": "user", "content": _PROMPT}]
    return replace(draft, messages=messages, params=params, request={**(draft.request or {}), "called": {}})
