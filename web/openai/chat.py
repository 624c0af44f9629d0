"""``POST /v1/chat/completions``: a chat completion is a job, its stream the job's log."""

from __future__ import annotations

from flask import Blueprint, Response

from spool.jobs import conversation
from web.auth import scope
from web.contract import LOCATION, REPLAYED, SPOOL_JOB, Answer, Content, Contract, json_content
from web.delivery.failures import CANCELLED, failure_of
from web.delivery.streaming import translated
from web.delivery.waiting import wait_for_all
from web.examples import JOB, ROWS
from web.folds import CLIENT_LEFT
from web.intake.accept import accept
from web.intake.errors_after_acceptance import accepted
from web.intake.idempotency import IDEMPOTENCY_KEY
from web.intake.spool_fields import ON_DISCONNECT
from web.json_response import json_response
from web.limits.streams import Slot
from web.openai.chat_chunks import ChatChunk, ChatChunks, ChatCompletion, completion
from web.openai.chat_request import ChatRequest, draft_of
from web.openai.failures import problem_of_failure, refuse_early_failure
from web.openai.fields import parse
from web.openai.whole_results import result_response
from web.services import state
from web.translated_stream import TranslatedStream

blueprint = Blueprint("openai_chat", __name__)


def _example_answer() -> conversation.Answer:
    answer = conversation.Answer(JOB.id)
    answer.add_all([raw for _entry_id, raw in ROWS])
    return answer


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
                json_content(ChatCompletion, lambda: completion(JOB, _example_answer())),
                Content("text/event-stream", item=ChatChunk, example=_example_stream),
            ],
            [LOCATION, SPOOL_JOB, REPLAYED],
        )
    },
    errors=[409, 413, 415, 422, 429, 502, 503, 504],
)
def create() -> Response:
    """OpenAI's chat completion, whole or as a stream. It continues if the client disconnects."""
    services = state()
    asked, idempotency = parse(ChatRequest)
    asked.check()
    with Slot(services.slots) as slot:
        submitted = accept(services, draft_of(services, asked, idempotency), slot)
        job = submitted.job
        answer = conversation.Answer(job.id)
        with accepted(submitted, f"/v1/responses/resp_{job.id}") as headers:
            if asked.stream:
                refuse_early_failure(services, job, headers)
                wants_usage = bool((asked.stream_options or {}).get("include_usage"))
                chunks = ChatChunks(job, wants_usage=wants_usage)
                return translated(job, TranslatedStream(services.checkpoints, job, chunks), headers, slot)
            if not wait_for_all(services, job, answer):
                return Response(status=CLIENT_LEFT)
    if answer.finish_reason is None:
        raise problem_of_failure(failure_of(answer.error or CANCELLED), headers)
    if answer.result:
        return result_response(answer, headers)
    return json_response(completion(job, answer), 200, headers)
