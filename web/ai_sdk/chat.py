"""``/ai/chat``: an answer in a chat is a job. Its stream can be resumed, and stopped while it runs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from flask import Blueprint, Response
from typing_extensions import TypedDict

from spool.errors import JobGone, JobNotFound
from spool.jobs.job import Job
from web import auth
from web.ai_sdk.chat_request import SURFACE, Asked, ChatId, UiRequest, chat_of, draft_of
from web.ai_sdk.resume import Resumption, is_resumable
from web.ai_sdk.ui_stream import HEADERS, MESSAGE_PREFIX, UiMessageStream, message_id_of
from web.arguments import query
from web.auth import scope
from web.contract import LOCATION, REPLAYED, SPOOL_JOB, Answer, Content, Contract, json_content
from web.delivery.failures import problem_of_failure
from web.delivery.streaming import translated
from web.examples import JOB, ROWS
from web.intake.answering import Answering
from web.intake.body import job_body, json_body, parse_json
from web.intake.idempotency import IDEMPOTENCY_KEY, idempotency_of
from web.intake.shapes import checked
from web.intake.spool_fields import ON_DISCONNECT
from web.json_response import json_response
from web.services import State, state
from web.translated_stream import TranslatedStream

blueprint = Blueprint("ai_sdk_chat", __name__)


class UiChatRequest(UiRequest):
    """The body of ``DefaultChatTransport``."""

    id: ChatId


class _Named(Asked):
    id: str | None = None


class StopRequest(Asked):
    """The body of a stop, which may name a stream by its job or its message."""

    active_stream_id: str | None = None
    stream_id: str | None = None
    message_id: str | None = None
    assistant_message: _Named | None = None

    def named(self) -> str | None:
        """The first name given, or None."""
        message = self.assistant_message.id if self.assistant_message else None
        return self.active_stream_id or self.stream_id or self.message_id or message


class Chunk(TypedDict):
    """One chunk of a UI message stream; its other fields depend on its type. ``data: [DONE]`` follows the last."""

    type: str


class Stopped(TypedDict):
    """The stop is done, whether or not an answer was running."""

    success: bool


def _example() -> bytes:
    stream = UiMessageStream(JOB, {}, again=False)
    return stream.opening() + stream.entries(ROWS)


_ANSWERING = Answering("/jobs/{id}", problem_of_failure)
_MESSAGE = {"id": "m1", "role": "user", "parts": [{"type": "text", "text": "Why is the sky blue?"}]}
_STREAM = Content("text/event-stream", item=Chunk, last="[DONE]", example=_example)
_STOPPED: Stopped = {"success": True}


@blueprint.post("/ai/chat")
@scope("jobs:write")
@Contract(
    body=[json_content(UiChatRequest, lambda: {"id": "chat-1", "messages": [_MESSAGE]})],
    headers=[IDEMPOTENCY_KEY, ON_DISCONNECT],
    answers={200: Answer("The answer as a UI message stream.", [_STREAM], [LOCATION, SPOOL_JOB, REPLAYED])},
    errors=[409, 413, 415, 422, 429, 502, 503, 504],
)
def create() -> Response:
    """The AI SDK's chat: answers the messages as a UI message stream. It continues if the client disconnects."""
    data = json_body()
    asked = checked(UiChatRequest, data)
    draft = draft_of(asked, idempotency_of(data, asked.joins()))
    return _ANSWERING.stream(
        draft, lambda job: UiMessageStream(job, draft.request or {}, again=False), lambda _job: HEADERS
    )


@blueprint.get("/ai/chat/<path:chat_id>/stream")
@scope("jobs:read")
@Contract(
    query=Resumption,
    answers={
        200: Answer("The answer again from its start.", [_STREAM], [LOCATION, SPOOL_JOB]),
        204: Answer("No answer of this chat runs or has ended in the last minutes, or the client has it."),
    },
    errors=[409, 410, 422, 429, 503],
)
def resume(chat_id: str) -> Response:
    """The AI SDK's resume: streams the chat's newest answer again from its start, on any instance, while it runs and
    for 5 minutes after its end; else 204."""
    services, asked = state(), query(Resumption)
    job = services.store.newest_of_chat(chat_of(chat_id), auth.owner())
    if job is None or not is_resumable(job, time.time()):
        return _nothing()
    try:
        fields = _request_fields(services, job)
    except JobNotFound:
        # Deleted, or expired, since the look.
        return _nothing()
    if job.ended and asked.has in (job.id, message_id_of(job.id, {})):
        # Not the id of a message that the answer continues, since the client had that one before.
        return _nothing()
    headers = {**HEADERS, "Location": f"/jobs/{job.id}", SPOOL_JOB.name: job.id}
    stream = TranslatedStream(services.checkpoints, job, UiMessageStream(job, fields, again=True))
    return translated(job, stream, headers)


def _nothing() -> Response:
    return Response(status=204, headers={"Cache-Control": "no-store"})


@blueprint.post("/ai/chat/<path:chat_id>/stop")
@scope("jobs:write")
@Contract(
    body=[json_content(StopRequest, dict)],
    body_required=False,
    answers={200: Answer("Done.", [json_content(Stopped, lambda: _STOPPED)])},
    errors=[409, 410, 413, 415, 422, 503],
)
def stop(chat_id: str) -> Response:
    """Stop the chat's newest answer for all readers, or the answer that the body names (``activeStreamId``,
    ``streamId``, ``messageId`` or ``assistantMessage``), also an older one. Answers ``{"success": true}`` in any case,
    as the AI SDK's guide does."""
    services = state()
    raw = job_body()
    asked = checked(StopRequest, parse_json(raw, "body") if raw else {})
    job = _stoppable(services, chat_id, asked.named())
    if job is not None:
        services.store.cancel(job.id, job.owner)
    return json_response(_STOPPED)


def _running(services: State, chat_id: str) -> Job | None:
    job = services.store.newest_of_chat(chat_of(chat_id), auth.owner())
    return None if job is None or job.ended else job


def _stoppable(services: State, chat_id: str, named: str | None) -> Job | None:
    """The chat's newest answer, if it runs and has that name; else the answer of that name."""
    newest = _running(services, chat_id)
    if named is None or (newest is not None and named in _names(newest, _request_fields(services, newest))):
        return newest
    with suppress(JobNotFound, JobGone):
        job = services.store.look(named.removeprefix(MESSAGE_PREFIX), auth.owner())
        return job if job.surface == SURFACE else None
    return None


def _request_fields(services: State, job: Job) -> dict[str, Any]:
    request_fields: dict[str, Any] = services.store.input_of(job.id).get("request") or {}
    return request_fields


def _names(job: Job, fields: Mapping[str, Any]) -> set[str]:
    return {job.id, message_id_of(job.id, {}), message_id_of(job.id, fields)}
