"""``POST /v1/completions``: a completion of the older kind is a job, its stream the job's log."""

from __future__ import annotations

from flask import Blueprint, Response

from web.auth import scope
from web.contract import LOCATION, REPLAYED, SPOOL_JOB, Answer, Content, Contract, json_content
from web.examples import JOB, ROWS, example_answer
from web.intake.idempotency import IDEMPOTENCY_KEY
from web.intake.spool_fields import ON_DISCONNECT
from web.openai.completion_chunks import CompletionChunks, TextCompletion, text_completion
from web.openai.endpoint_requests import CompletionsRequest, draft_of
from web.openai.fields import parse, wants_usage
from web.openai.whole_results import BY_ENTRIES, result_or
from web.services import state

blueprint = Blueprint("openai_completions", __name__)


@blueprint.post("/v1/completions")
@scope("jobs:write")
@Contract(
    body=[json_content(CompletionsRequest, lambda: {"model": "demo", "prompt": "Once upon a time"})],
    headers=[IDEMPOTENCY_KEY, ON_DISCONNECT],
    answers={
        200: Answer(
            "The completion; with `stream`, its events.",
            [
                json_content(TextCompletion, lambda: text_completion(JOB, example_answer())),
                Content(
                    "text/event-stream",
                    item=TextCompletion,
                    last="[DONE]",
                    example=lambda: CompletionChunks(JOB, wants_usage=False).entries(ROWS),
                ),
            ],
            [LOCATION, SPOOL_JOB, REPLAYED],
        )
    },
    errors=[409, 413, 415, 422, 429, 502, 503, 504],
)
def create() -> Response:
    """OpenAI's completion, whole or as a stream. It continues if the client disconnects."""
    asked, idempotency = parse(CompletionsRequest)
    asked.check()
    draft = draft_of(state(), asked, idempotency)
    if asked.stream:
        with_usage = wants_usage(asked.stream_options)
        return BY_ENTRIES.stream(draft, lambda job: CompletionChunks(job, wants_usage=with_usage))
    return BY_ENTRIES.whole(draft, result_or(text_completion))
