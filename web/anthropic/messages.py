"""``POST /v1/messages``: a message is a job, its stream the job's log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from flask import Blueprint, Response
from typing_extensions import TypedDict

from spool.jobs import conversation
from spool.jobs.job import Job
from spool.jobs.scheduling import UNSCHEDULED
from web import auth
from web.anthropic.errors import AnthropicProblem
from web.anthropic.message_events import MessageDocument, MessageEvent, MessageStream, message
from web.anthropic.request import CountRequest, MessagesRequest, chat_messages
from web.auth import scope
from web.contract import LOCATION, REPLAYED, SPOOL_JOB, Answer, Content, Contract, json_content
from web.examples import JOB, ROWS, example_answer
from web.intake.answering import Answering
from web.intake.body import json_body
from web.intake.draft import Draft
from web.intake.earlier_reasoning import keeps_reasoning
from web.intake.idempotency import IDEMPOTENCY_KEY, Idempotency, idempotency_of
from web.intake.scheduling import scheduling_of
from web.intake.shapes import checked
from web.intake.spool_fields import ON_DISCONNECT, WEBHOOK, on_disconnect_of, webhook_of
from web.json_response import json_response
from web.problems import field_problem
from web.request_ids import origin
from web.services import state

blueprint = Blueprint("anthropic_messages", __name__)

_ANSWERING = Answering("/jobs/{id}", AnthropicProblem)
_BYTES_A_TOKEN = 4


class Counted(TypedDict):
    """The tokens of a prompt."""

    input_tokens: int


def _example_body() -> dict[str, Any]:
    return {"model": "demo", "max_tokens": 100, "messages": [{"role": "user", "content": "Why is the sky blue?"}]}


def _example_stream() -> bytes:
    stream = MessageStream(JOB)
    return stream.opening() + stream.entries(ROWS)


@blueprint.post("/v1/messages")
@scope("jobs:write")
@Contract(
    body=[json_content(MessagesRequest, _example_body)],
    headers=[IDEMPOTENCY_KEY, ON_DISCONNECT],
    answers={
        200: Answer(
            "The message; with `stream`, its events.",
            [
                json_content(MessageDocument, lambda: message(JOB, example_answer())),
                Content("text/event-stream", item=MessageEvent, example=_example_stream),
            ],
            [LOCATION, SPOOL_JOB, REPLAYED],
        )
    },
    errors=[404, 409, 413, 415, 422, 429, 502, 503, 504],
)
def create() -> Response:
    """Anthropic's message, whole or as a stream, from any model."""
    data = json_body()
    asked, idempotency = checked(MessagesRequest, data), idempotency_of(data)
    draft = _draft(asked, idempotency)
    if asked.stream:
        return _ANSWERING.stream(draft, MessageStream)
    return _ANSWERING.whole(draft, _response)


def _response(job: Job, answer: conversation.Answer, headers: Mapping[str, str]) -> Response:
    return json_response(message(job, answer), 200, headers)


@blueprint.post("/v1/messages/count_tokens")
@scope("jobs:write")
@Contract(
    body=[json_content(CountRequest, lambda: {"model": "demo", "messages": [{"role": "user", "content": "Why?"}]})],
    answers={200: Answer("An estimate.", [json_content(Counted, lambda: {"input_tokens": 1})])},
    errors=[413, 415, 422],
)
def count_tokens() -> Response:
    """Estimate the tokens of a prompt as a quarter of its bytes: Spool has no tokenizer of the model."""
    asked = checked(CountRequest, json_body())
    prompt = [asked.instructions(), _messages(asked), asked.tool_params()]
    counted: Counted = {"input_tokens": max(1, len(orjson.dumps(prompt)) // _BYTES_A_TOKEN)}
    return json_response(counted)


def _draft(asked: MessagesRequest, idempotency: Idempotency) -> Draft:
    return Draft(
        surface="messages",
        owner=auth.owner(),
        messages=_messages(asked),
        sends_all_turns=True,
        model=asked.model,
        params=asked.params(),
        params_field="",
        instructions=asked.instructions(),
        streams_text=True,
        on_disconnect=on_disconnect_of(asked.spool, state().settings.on_disconnect),
        scheduling=scheduling_of(asked.spool, "spool.") if asked.spool else UNSCHEDULED,
        webhook=webhook_of(asked.spool),
        webhook_field=WEBHOOK,
        idempotency=idempotency,
        origin=origin(),
    )


def _messages(asked: CountRequest) -> list[dict[str, Any]]:
    try:
        messages = chat_messages(asked.messages, keeps_reasoning=keeps_reasoning(state(), asked.model))
    except orjson.JSONEncodeError as exc:
        raise field_problem("messages", f"a tool's input cannot be encoded: {exc}") from exc
    if not messages:
        raise field_problem("messages", "have no content for the model to answer")
    return messages
