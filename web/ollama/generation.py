"""``POST /api/chat`` and ``/api/generate``: an answer is a job, its lines the job's log."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from flask import Blueprint, Response

from spool.jobs import conversation
from spool.jobs.job import Job
from spool.jobs.scheduling import UNSCHEDULED
from web import auth
from web.auth import scope
from web.contract import LOCATION, REPLAYED, SPOOL_JOB, Answer, Content, Contract, json_content
from web.delivery.formats import ndjson
from web.examples import JOB, ROWS
from web.intake.accept import known_model
from web.intake.answering import Answering
from web.intake.body import job_body, parse_json
from web.intake.draft import Draft
from web.intake.earlier_reasoning import keeps_reasoning
from web.intake.idempotency import IDEMPOTENCY_KEY, Idempotency, idempotency_of
from web.intake.scheduling import scheduling_of
from web.intake.shapes import checked
from web.intake.spool_fields import ON_DISCONNECT, on_disconnect_of
from web.json_response import json_response
from web.ollama.errors import OllamaProblem
from web.ollama.lines import OllamaLine, OllamaStream, loaded, whole
from web.ollama.request import OllamaChat, OllamaGenerate, OllamaRequest, chat_messages, user_content
from web.request_ids import origin
from web.services import state

blueprint = Blueprint("ollama_generation", __name__)

_ANSWERING = Answering("/jobs/{id}", OllamaProblem, ndjson.MEDIA_TYPE)

Shape = TypeVar("Shape", bound=OllamaRequest)


def _example_whole(*, is_chat: bool) -> dict[str, Any]:
    answer = conversation.Answer(JOB.id)
    answer.add_all([raw for _entry_id, raw in ROWS])
    return whole(JOB, answer, is_chat=is_chat, shows_thinking=True)


def _answers(*, is_chat: bool) -> dict[int, Answer]:
    stream = Content(
        ndjson.MEDIA_TYPE,
        item=OllamaLine,
        example=lambda: OllamaStream(JOB, is_chat=is_chat, shows_thinking=True).entries(ROWS),
    )
    content = [stream, json_content(OllamaLine, lambda: _example_whole(is_chat=is_chat))]
    return {
        200: Answer("The answer's lines; with `stream: false`, the whole.", content, [LOCATION, SPOOL_JOB, REPLAYED])
    }


_CHAT = {"model": "demo", "messages": [{"role": "user", "content": "Why is the sky blue?"}]}
_ERRORS = [404, 409, 413, 415, 422, 429, 502, 503, 504]


@blueprint.post("/api/chat")
@scope("jobs:write")
@Contract(
    body=[json_content(OllamaChat, lambda: _CHAT)],
    headers=[IDEMPOTENCY_KEY, ON_DISCONNECT],
    answers=_answers(is_chat=True),
    errors=_ERRORS,
)
def chat() -> Response:
    """Ollama's chat, as lines or whole. Its body is JSON of any media type."""
    asked, idempotency = _parsed(OllamaChat)
    reasons = keeps_reasoning(state(), asked.model)
    return _answer(asked, chat_messages(asked.messages, keeps_reasoning=reasons), None, idempotency, is_chat=True)


@blueprint.post("/api/generate")
@scope("jobs:write")
@Contract(
    body=[json_content(OllamaGenerate, lambda: {"model": "demo", "prompt": "Why is the sky blue?"})],
    headers=[IDEMPOTENCY_KEY, ON_DISCONNECT],
    answers=_answers(is_chat=False),
    errors=_ERRORS,
)
def generate() -> Response:
    """Ollama's generation, as lines or whole: a chat of one message."""
    asked, idempotency = _parsed(OllamaGenerate)
    content = user_content(asked.prompt, asked.images)
    messages = [{"role": "user", "content": content}] if content else []
    return _answer(asked, messages, asked.system or None, idempotency, is_chat=False)


def _parsed(shape: type[Shape]) -> tuple[Shape, Idempotency]:
    data = parse_json(job_body(), "body")
    return checked(shape, data), idempotency_of(data)


def _answer(
    asked: OllamaRequest,
    messages: Sequence[dict[str, Any]],
    instructions: str | None,
    idempotency: Idempotency,
    *,
    is_chat: bool,
) -> Response:
    services = state()
    if not messages:
        return json_response(loaded(known_model(services, asked.model).name, time.time(), is_chat=is_chat))
    shown = {"is_chat": is_chat, "shows_thinking": asked.think is not False}
    draft = _draft(asked, messages, instructions, idempotency)
    if asked.stream is not False:
        return _ANSWERING.stream(draft, lambda job: OllamaStream(job, **shown))

    def response_of(job: Job, answer: conversation.Answer, headers: Mapping[str, str]) -> Response:
        ended = services.store.look(job.id, job.owner)
        return json_response(whole(ended, answer, **shown), 200, headers)

    return _ANSWERING.whole(draft, response_of)


def _draft(
    asked: OllamaRequest, messages: Sequence[dict[str, Any]], instructions: str | None, idempotency: Idempotency
) -> Draft:
    return Draft(
        surface="ollama",
        owner=auth.owner(),
        messages=messages,
        sends_all_turns=True,
        model=asked.model,
        params=asked.params(),
        params_field="",
        instructions=instructions,
        streams_text=True,
        on_disconnect=on_disconnect_of(asked.spool, state().settings.on_disconnect),
        scheduling=scheduling_of(asked.spool, "spool.") if asked.spool else UNSCHEDULED,
        idempotency=idempotency,
        origin=origin(),
    )
