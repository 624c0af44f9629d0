"""``/ai/chat``: an answer in a chat is a job. Its stream can be resumed and stopped while it runs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from typing import Annotated, Any, ClassVar, Literal

from flask import Blueprint, Response
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel
from typing_extensions import TypedDict

from spool.errors import JobGone, JobNotFound
from spool.jobs.job import Job
from spool.jobs.repeats import Joins
from spool.jobs.scheduling import UNSCHEDULED
from web import auth
from web.ai_sdk.ui_messages import UiMessage, messages_of
from web.ai_sdk.ui_stream import HEADERS, MESSAGE_PREFIX, UiMessageStream, message_id_of
from web.auth import scope
from web.contract import LOCATION, REPLAYED, SPOOL_JOB, Answer, Content, Contract, json_content
from web.delivery.failures import early_failure, problem_of_failure
from web.delivery.streaming import translated
from web.examples import JOB, ROWS
from web.intake.accept import accept
from web.intake.body import job_body, json_body, parse_json
from web.intake.draft import Draft
from web.intake.earlier_reasoning import keeps_reasoning
from web.intake.errors_after_acceptance import accepted
from web.intake.idempotency import IDEMPOTENCY_KEY, Idempotency, idempotency_of
from web.intake.messages import MESSAGES_AT_MOST
from web.intake.scheduling import scheduling_of
from web.intake.shapes import Metadata, Pieces, Some, checked
from web.intake.spool_fields import ON_DISCONNECT, SpoolFields, on_disconnect_of
from web.json_response import json_response
from web.limits.streams import Slot
from web.problems import field_problem
from web.request_ids import origin
from web.services import State, state
from web.time_slices import in_slices
from web.translated_stream import TranslatedStream

blueprint = Blueprint("ai_sdk_chat", __name__)

_TOOLS_AT_MOST = 512
SURFACE = "ai"


class _Asked(BaseModel):
    """A body from the AI SDK. Applications add fields of their own, which are ignored."""

    model_config = ConfigDict(extra="ignore", strict=True, alias_generator=to_camel)


class UiChatRequest(_Asked):
    """The body of ``DefaultChatTransport``; ``model`` and the fields after it come from the application's ``body``."""

    PIECES: ClassVar[Pieces] = {"messages": (UiMessage, MESSAGES_AT_MOST)}

    # The id is part of the resume path.
    id: Annotated[str, Field(min_length=1, max_length=200, pattern="^[^/]")]
    messages: Annotated[Some[UiMessage], Field(min_length=1, max_length=MESSAGES_AT_MOST)]
    trigger: Literal["submit-message", "regenerate-message"] = "submit-message"
    message_id: str | None = None
    model: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    params: dict[str, Any] = Field(default_factory=dict)
    system: str | None = None
    tools: Annotated[Some[dict[str, Any]], Field(max_length=_TOOLS_AT_MOST)] | None = None
    tool_choice: str | dict[str, Any] | None = Field(None, alias="tool_choice")
    metadata: Metadata | None = None
    spool: Annotated[SpoolFields | None, Field(description="Spool's own fields, as in `POST /jobs`")] = None

    def all_params(self) -> dict[str, Any]:
        """The model's parameters, with the tools."""
        tools = {"tools": self.tools, "tool_choice": self.tool_choice}
        return {**self.params, **{name: value for name, value in tools.items() if value is not None}}

    def joins(self) -> Joins | None:
        """The jobs that the request may get instead of a new one. ``useChat`` gives each message an id, so the same
        messages of the same chat again are the same request, as long as that runs: after its end a user may want
        another answer. None for messages without ids."""
        if not self.messages[-1].id:
            return None
        return Joins.NONE if self.trigger == "regenerate-message" else Joins.RUNNING

    def continued(self) -> UiMessage | None:
        """The assistant's message that the answer continues, as ``AbstractChat`` chooses it; None for a new message.
        The stream must repeat its id, or the client would show it twice."""
        if self.trigger == "regenerate-message":
            return None
        last = self.messages[-1]
        message = next((known for known in self.messages if known.id and known.id == self.message_id), last)
        return message if message.role == "assistant" and message.id else None


class _Named(_Asked):
    id: str | None = None


class StopRequest(_Asked):
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


_MESSAGE = {"id": "m1", "role": "user", "parts": [{"type": "text", "text": "Why is the sky blue?"}]}
_STREAM = Content("text/event-stream", item=Chunk, example=_example)
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
    services, data = state(), json_body()
    asked = checked(UiChatRequest, data)
    draft = _draft(asked, idempotency_of(data, asked.joins()))
    with Slot(services.slots) as slot:
        submitted = accept(services, draft, slot)
        job = submitted.job
        with accepted(submitted, f"/jobs/{job.id}") as headers:
            failure = early_failure(services, job)
            if failure is not None:
                raise problem_of_failure(failure, headers)
            return _streamed(job, UiMessageStream(job, draft.request or {}, again=False), slot, headers)


@blueprint.get("/ai/chat/<path:chat_id>/stream")
@scope("jobs:read")
@Contract(
    answers={
        200: Answer("The answer again from its start.", [_STREAM], [LOCATION, SPOOL_JOB]),
        204: Answer("No answer of this chat is running."),
    },
    errors=[409, 410, 429, 503],
)
def resume(chat_id: str) -> Response:
    """The AI SDK's resume: streams the chat's newest answer again from its start, on any instance; 204 if none runs."""
    services = state()
    job = _running(services, chat_id)
    if job is None:
        return Response(status=204, headers={"Cache-Control": "no-store"})
    return _streamed(job, UiMessageStream(job, _request_fields(services, job), again=True))


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


def _draft(asked: UiChatRequest, idempotency: Idempotency) -> Draft:
    messages = messages_of(asked.messages, keeps_reasoning=keeps_reasoning(state(), asked.model))
    if not messages:
        raise field_problem("messages", "have no content for the model to answer")
    before = asked.continued()
    return Draft(
        surface=SURFACE,
        owner=auth.owner(),
        messages=messages,
        sends_all_turns=True,
        model=asked.model,
        params=asked.all_params(),
        instructions=asked.system if asked.system and asked.system.strip() else None,
        request={"message_id": before.id, "parts": [part.dump() for part in in_slices(before.parts)]}
        if before
        else None,
        metadata=asked.metadata or {},
        streams_text=True,
        on_disconnect=on_disconnect_of(asked.spool, state().settings.on_disconnect),
        scheduling=scheduling_of(asked.spool, "spool.") if asked.spool else UNSCHEDULED,
        chat=_chat(asked.id),
        idempotency=idempotency,
        origin=origin(),
    )


def _chat(chat_id: str) -> str:
    return hashlib.sha256(chat_id.encode()).hexdigest()[:32]


def _running(services: State, chat_id: str) -> Job | None:
    job = services.store.newest_of_chat(_chat(chat_id), auth.owner())
    return None if job is None or job.ended else job


def _stoppable(services: State, chat_id: str, named: str | None) -> Job | None:
    """The chat's newest answer, if it runs and has that name; else the answer of that name."""
    newest = _running(services, chat_id)
    if named is None or (newest is not None and named in _names(services, newest)):
        return newest
    with suppress(JobNotFound, JobGone):
        job = services.store.look(named.removeprefix(MESSAGE_PREFIX), auth.owner())
        return job if job.surface == SURFACE else None
    return None


def _request_fields(services: State, job: Job) -> dict[str, Any]:
    request_fields: dict[str, Any] = services.store.input_of(job.id).get("request") or {}
    return request_fields


def _names(services: State, job: Job) -> set[str]:
    return {job.id, message_id_of(job.id, {}), message_id_of(job.id, _request_fields(services, job))}


def _streamed(
    job: Job, stream: UiMessageStream, slot: Slot | None = None, named: Mapping[str, str] | None = None
) -> Response:
    headers = {**HEADERS, **(named or {"Location": f"/jobs/{job.id}", "X-Spool-Job": job.id})}
    return translated(job, TranslatedStream(state().checkpoints, job, stream), headers, slot)
