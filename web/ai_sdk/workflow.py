"""``/ai/workflow``: the chat of ``WorkflowChatTransport``, which resumes by itself with the number of its next chunk.

The run of its protocol is a job. The transport sends its body as text, and asks again after a stream without
``finish``.
"""

from __future__ import annotations

from typing import Annotated

from flask import Blueprint, Response
from pydantic import Field
from typing_extensions import TypedDict

from spool.errors import JobNotFound
from spool.jobs.job import Job
from web import auth
from web.ai_sdk.chat_request import SURFACE, UiRequest, draft_of
from web.ai_sdk.ui_stream import HEADERS
from web.ai_sdk.workflow_stream import WorkflowStream
from web.arguments import Query, query
from web.auth import scope
from web.contract import LOCATION, REPLAYED, SPOOL_JOB, Answer, Content, Contract, Parameter, json_content
from web.delivery.failures import problem_of_failure
from web.delivery.streaming import translated
from web.examples import JOB, ROWS
from web.intake.answering import Answering
from web.intake.body import job_body, parse_json
from web.intake.idempotency import IDEMPOTENCY_KEY, idempotency_of
from web.intake.shapes import checked
from web.intake.spool_fields import ON_DISCONNECT
from web.services import state
from web.translated_stream import TranslatedStream

blueprint = Blueprint("ai_sdk_workflow", __name__)

_ANSWERING = Answering("/jobs/{id}", problem_of_failure)
_RUN_ID = Parameter("x-workflow-run-id", str, "The id of the job, which is the run of the protocol.")
_TAIL_INDEX = Parameter(
    "x-workflow-stream-tail-index", str, "For a negative `startIndex`: the number from which the client counts on."
)


class StartIndex(Query):
    """The place in the stream."""

    start_index: Annotated[str, Field(pattern="^-?[0-9]{1,9}$")] = Field(
        "0",
        alias="startIndex",
        description="The number of the first chunk that is wanted. A negative one gets the whole stream.",
    )


class WorkflowChunk(TypedDict):
    """One chunk of a UI message stream; its other fields depend on its type. The last is a ``finish``."""

    type: str


def _example() -> bytes:
    stream = WorkflowStream(JOB, {})
    return stream.opening() + stream.entries(ROWS)


_MESSAGE = {"id": "m1", "role": "user", "parts": [{"type": "text", "text": "Why is the sky blue?"}]}
_STREAM = Content("text/event-stream", item=WorkflowChunk, example=_example)


@blueprint.post("/ai/workflow")
@scope("jobs:write")
@Contract(
    body=[json_content(UiRequest, lambda: {"messages": [_MESSAGE]})],
    headers=[IDEMPOTENCY_KEY, ON_DISCONNECT],
    answers={200: Answer("The answer as a UI message stream.", [_STREAM], [LOCATION, SPOOL_JOB, REPLAYED, _RUN_ID])},
    errors=[409, 413, 415, 422, 429, 502, 503, 504],
)
def create() -> Response:
    """The chat of the AI SDK's ``WorkflowChatTransport``. Its body is JSON of any media type."""
    data = parse_json(job_body(), "body")
    asked = checked(UiRequest, data)
    draft = draft_of(asked, idempotency_of(data, asked.joins()))
    return _ANSWERING.stream(draft, lambda job: WorkflowStream(job, draft.request or {}), _headers_of)


@blueprint.get("/ai/workflow/<job_id>/stream")
@scope("jobs:read")
@Contract(
    query=StartIndex,
    answers={200: Answer("The rest of the answer.", [_STREAM], [LOCATION, SPOOL_JOB, _RUN_ID, _TAIL_INDEX])},
    errors=[404, 409, 410, 422, 429, 503],
)
def resume(job_id: str) -> Response:
    """The rest of an answer from a chunk on, on any instance, while it runs and after its end."""
    start_index = int(query(StartIndex).start_index)
    job = state().store.look(job_id, auth.owner())
    if job.surface != SURFACE:
        raise JobNotFound(job_id)
    continued = state().store.input_of(job.id).get("request") or {}
    headers = {"Location": f"/jobs/{job.id}", SPOOL_JOB.name: job.id, **_headers_of(job)}
    if start_index < 0:
        # The client counts on from this number + 1 + startIndex, which is 0: it gets the whole stream.
        headers[_TAIL_INDEX.name] = str(-start_index - 1)
    translation = WorkflowStream(job, continued, start_index=max(0, start_index))
    return translated(job, TranslatedStream(state().checkpoints, job, translation), headers)


def _headers_of(job: Job) -> dict[str, str]:
    return {**HEADERS, _RUN_ID.name: job.id}
