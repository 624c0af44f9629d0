"""``POST /v1/chat/completions``: a chat completion is a job, its stream the job's log."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Annotated, Any, ClassVar

from flask import Blueprint, Response
from pydantic import Field

from spool.jobs.conversation import Answer
from spool.jobs.job import NewJob
from web import auth
from web.auth import scope
from web.delivery.event_adapter import streamed, wait_for_all
from web.folds import CLIENT_LEFT
from web.intake.accept import accept
from web.intake.shapes import Pieces, Some
from web.intake.submission import MESSAGES_AT_MOST, Message
from web.json_response import json_response
from web.openai.chat_chunks import ChatChunks, completion
from web.openai.fields import Asked, accepted, new_job, parse, refuse
from web.problems import Problem
from web.services import State, state
from web.slices import in_slices

blueprint = Blueprint("openai_chat", __name__)

_OF_JOBS = {
    "upstream_rejected": 400,
    "cancelled": 409,
    "upstream_unavailable": 504,
    "deadline_exceeded": 504,
    "start_timeout": 504,
    "first_token_timeout": 504,
    "token_timeout": 504,
}


class ChatRequest(Asked):
    """The body. Sampling parameters, tools, response formats and unknown fields go to the upstream unchanged."""

    PIECES: ClassVar[Pieces] = {"messages": (Message, MESSAGES_AT_MOST)}

    messages: Annotated[Some[Message], Field(min_length=1, max_length=MESSAGES_AT_MOST)]
    n: int | None = None
    stream_options: dict[str, Any] | None = None
    modalities: Some[str] | None = None
    audio: Any = None
    logprobs: bool | None = None
    functions: Any = None
    function_call: Any = None

    def check(self) -> None:
        """Raise a 422 ``Problem`` for features that Spool itself does not support."""
        if self.n not in (None, 1):
            refuse("n", "must be 1: a job has one answer")
        if self.modalities not in (None, ["text"]) or self.audio is not None:
            refuse("modalities", "must be text: Spool does not store audio")
        if self.logprobs:
            refuse("logprobs", "must be false: Spool does not store them")
        if self.functions is not None or self.function_call is not None:
            refuse("functions", "are not supported: use tools")

    def conversation(self) -> list[dict[str, Any]]:
        """The messages as received."""
        return [message.model_dump(exclude_unset=True) for message in in_slices(self.messages)]


@blueprint.post("/v1/chat/completions")
@scope("jobs:write")
def create() -> Response:
    """OpenAI's chat completion, whole or as a stream. It continues if the client disconnects."""
    services = state()
    asked, body_digest = parse(ChatRequest)
    asked.check()
    with ExitStack() as place:
        # Acquired before the job is written, so that a 503 means that nothing was done.
        services.hold_stream(auth.owner(), place)
        job = accept(services, _new_job(services, asked, body_digest)).job
        answer = Answer(job.id)
        with accepted(job) as headers:
            if asked.stream:
                wants_usage = bool((asked.stream_options or {}).get("include_usage"))
                return streamed(job, ChatChunks(job, wants_usage=wants_usage), headers, place)
            if not wait_for_all(services, job, answer):
                return Response(status=CLIENT_LEFT)
    if answer.finish_reason is None:
        raise _failed(answer, headers)
    return json_response(completion(job, answer), 200, headers)


def _new_job(services: State, asked: ChatRequest, body_digest: str) -> NewJob:
    return new_job(
        services,
        asked,
        body_digest,
        surface="chat",
        stored={"messages": asked.conversation()},
        params=asked.extras(),
        field="messages",
    )


def _failed(answer: Answer, headers: Mapping[str, str]) -> Problem:
    """The problem for a client that waits for a whole answer, if its job failed or was cancelled. The SDK should not
    retry, because Spool already has."""
    error = answer.error or {"code": "cancelled", "message": "the job was cancelled"}
    status = _OF_JOBS.get(error["code"], 502)
    title = error["code"].replace("_", " ")
    return Problem(status, title, error["message"], headers={**headers, "x-should-retry": "false"})
