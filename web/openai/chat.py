"""``POST /v1/chat/completions``: a chat completion is a job, its stream the job's log."""

from __future__ import annotations

from flask import Blueprint, Response

from spool.jobs.conversation import Answer as JobAnswer
from spool.jobs.job import Job
from web.auth import scope
from web.contract import LOCATION, REPLAYED, SPOOL_JOB, Answer, Content, Contract, json_content
from web.examples import JOB, ROWS, example_answer
from web.intake.answering import Answering
from web.intake.idempotency import IDEMPOTENCY_KEY
from web.intake.spool_fields import ON_DISCONNECT
from web.openai.chat_audio import heard
from web.openai.chat_chunks import ChatChunk, ChatChunks, ChatCompletion, completion
from web.openai.chat_request import ChatRequest, draft_of
from web.openai.failures import problem_of_failure
from web.openai.fields import parse, wants_usage
from web.openai.whole_results import result_or
from web.services import state

blueprint = Blueprint("openai_chat", __name__)

_ANSWERING = Answering("/v1/responses/resp_{id}", problem_of_failure)


def _example_stream() -> bytes:
    chunks = ChatChunks(JOB, wants_usage=False)
    return chunks.opening() + chunks.entries(ROWS)


@blueprint.post("/v1/chat/completions")
@scope("jobs:write")
@Contract(
    body=[json_content(ChatRequest, lambda: {"model": "demo", "messages": [{"role": "user", "content": "Why?"}]})],
    headers=[IDEMPOTENCY_KEY, ON_DISCONNECT],
    answers={
        200: Answer(
            "The chat completion; with `stream`, its chunks.",
            [
                json_content(ChatCompletion, lambda: completion(JOB, example_answer())),
                Content("text/event-stream", item=ChatChunk, last="[DONE]", example=_example_stream),
            ],
            [LOCATION, SPOOL_JOB, REPLAYED],
        )
    },
    errors=[409, 413, 415, 422, 429, 502, 503, 504],
)
def create() -> Response:
    """OpenAI's chat completion, whole or as a stream. It continues if the client disconnects."""
    asked, idempotency = parse(ChatRequest)
    asked.check()
    draft = draft_of(state(), asked, idempotency)
    if asked.stream:
        with_usage = wants_usage(asked.stream_options)
        return _ANSWERING.stream(draft, lambda job: ChatChunks(job, wants_usage=with_usage))
    return _ANSWERING.whole(draft, result_or(_whole))


def _whole(job: Job, answer: JobAnswer) -> ChatCompletion:
    document = completion(job, answer)
    (choice,) = document["choices"]
    choice["message"] = heard(state(), job, choice["message"])
    return document
