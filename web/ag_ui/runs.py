"""``POST /agui``: a run is a job, its events the job's log."""

from __future__ import annotations

from typing import Annotated, Any

from flask import Blueprint, Response, request
from pydantic import Field

from spool.errors import JobNotFound
from spool.jobs.repeats import Joins
from spool.jobs.scheduling import UNSCHEDULED
from web import auth
from web.ag_ui.events import AgUiEvent, AgUiStream, place_of
from web.ag_ui.request import RunInput, chat_messages
from web.auth import scope
from web.contract import LOCATION, REPLAYED, SPOOL_JOB, Answer, Content, Contract, Parameter, json_content
from web.delivery.failures import problem_of_failure
from web.delivery.streaming import translated
from web.examples import JOB, ROWS
from web.intake.answering import Answering
from web.intake.body import json_body
from web.intake.draft import Draft
from web.intake.idempotency import IDEMPOTENCY_KEY, Idempotency, idempotency_of
from web.intake.scheduling import scheduling_of
from web.intake.shapes import checked
from web.intake.spool_fields import ON_DISCONNECT, on_disconnect_of
from web.problems import field_problem
from web.request_ids import origin
from web.services import state
from web.translated_stream import TranslatedStream

blueprint = Blueprint("ag_ui_runs", __name__)

_ANSWERING = Answering("/jobs/{id}", problem_of_failure)
_SURFACE = "agui"
_LAST_EVENT_ID = Parameter(
    "Last-Event-ID",
    Annotated[str, Field(max_length=80)],
    "The id of the last event that the client has. The run of that event continues after it; no other begins.",
)
_RUN = {"threadId": "thread-1", "runId": "run-1"}


def _example() -> bytes:
    stream = AgUiStream(JOB, _RUN)
    return stream.opening() + stream.entries(ROWS)


def _example_body() -> dict[str, Any]:
    message = {"id": "m1", "role": "user", "content": "Why is the sky blue?"}
    return {**_RUN, "messages": [message], "tools": [], "context": [], "forwardedProps": {"model": "demo"}}


@blueprint.post("/agui")
@scope("jobs:write")
@Contract(
    body=[json_content(RunInput, _example_body)],
    headers=[IDEMPOTENCY_KEY, ON_DISCONNECT, _LAST_EVENT_ID],
    answers={
        200: Answer(
            "The run's events.",
            [Content("text/event-stream", item=AgUiEvent, example=_example)],
            [LOCATION, SPOOL_JOB, REPLAYED],
        )
    },
    errors=[400, 404, 409, 410, 413, 415, 422, 429, 502, 503, 504],
)
def run() -> Response:
    """A run of AG-UI: one answer as a stream of events. The same request again, with the same ids, joins the run; with
    ``Last-Event-ID`` it continues after that event, on any instance, also after the run's end."""
    data = json_body()
    asked = checked(RunInput, data)
    named = {"threadId": asked.thread_id, "runId": asked.run_id}
    last_event_id = request.headers.get(_LAST_EVENT_ID.name, "").strip()
    if last_event_id:
        return _continued(last_event_id, named)
    draft = _draft(asked, idempotency_of(data, Joins.RECENT))
    return _ANSWERING.stream(draft, lambda job: AgUiStream(job, named))


def _continued(last_event_id: str, named: dict[str, str]) -> Response:
    place = place_of(last_event_id)
    if place is None:
        raise field_problem(_LAST_EVENT_ID.name, "must be the id of an event of a run", status=400)
    job_id, number = place
    job = state().store.look(job_id, auth.owner())
    if job.surface != _SURFACE:
        raise JobNotFound(job_id)
    stream = AgUiStream(job, named, after=number)
    headers = {"Location": f"/jobs/{job.id}", SPOOL_JOB.name: job.id}
    return translated(job, TranslatedStream(state().checkpoints, job, stream), headers)


def _draft(asked: RunInput, idempotency: Idempotency) -> Draft:
    messages, props = chat_messages(asked.messages), asked.props
    if not messages:
        raise field_problem("messages", "have no content for the model to answer")
    return Draft(
        surface=_SURFACE,
        owner=auth.owner(),
        messages=messages,
        sends_all_turns=True,
        model=props.model,
        params=asked.params(),
        params_field="forwardedProps.params",
        instructions=asked.instructions(),
        streams_text=True,
        on_disconnect=on_disconnect_of(props.spool, state().settings.on_disconnect),
        scheduling=scheduling_of(props.spool, "forwardedProps.spool.") if props.spool else UNSCHEDULED,
        idempotency=idempotency,
        origin=origin(),
    )
