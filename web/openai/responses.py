"""``/v1/responses``: a response is a job. It can be read again, whole or as a stream from any event."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Annotated, Any, Literal

from flask import Blueprint, Response, request
from pydantic import BeforeValidator, Field
from typing_extensions import TypedDict

from spool.errors import ConversationDamaged, ConversationNotFound, StoreUnavailable, TooManyStreams
from spool.jobs.job import Job, Status
from web import auth
from web.arguments import DIGITS, Query, query
from web.auth import scope
from web.contract import LOCATION, REPLAYED, SPOOL_JOB, Answer, Content, Contract, json_content
from web.delivery.building import building
from web.delivery.failures import failure_of
from web.delivery.streaming import translated
from web.delivery.waiting import wait_for_all, wait_for_end
from web.examples import JOB, ROWS
from web.folds import CLIENT_LEFT
from web.intake.errors_after_acceptance import accepted
from web.intake.idempotency import IDEMPOTENCY_KEY
from web.intake.spool_fields import ON_DISCONNECT
from web.json_response import json_response
from web.limits.streams import Slot
from web.openai.client_tools import Called
from web.openai.conversation_turns import accept_turn, conversation_of
from web.openai.failures import problem_of_failure, refuse_early_failure
from web.openai.fields import job_id_of, parse
from web.openai.listed_items import items_of, page_of
from web.openai.response_draft import PREFIX, SURFACE, draft_of
from web.openai.response_events import ResponseStream
from web.openai.response_fold import ResponseFold
from web.openai.response_output import TextItem
from web.openai.response_request import ResponsesRequest
from web.openai.response_resource import Outcome, ResponseDocument, resource
from web.openai.sealed_reasoning import seal_of
from web.server.peer import presence
from web.services import State, state
from web.translated_stream import TranslatedStream

blueprint = Blueprint("openai_responses", __name__)

_CANCEL_S = 2.0


def _sequence_number(value: Any) -> Any:
    if isinstance(value, str) and not re.fullmatch(r"[0-9]{1,12}", value):
        raise ValueError("must be the sequence_number of an event")
    return int(value)


def _true_or_false(value: object) -> bool:
    words = {"true": True, "1": True, "false": False, "0": False}
    if str(value).lower() not in words:
        raise ValueError("must be true or false")
    return words[str(value).lower()]


class Retrieval(Query):
    """How to read a response."""

    stream: Annotated[bool, BeforeValidator(_true_or_false)] = Field(
        False, description="`true`: answer with its events."
    )
    starting_after: Annotated[int, Field(ge=0), BeforeValidator(_sequence_number)] | None = Field(
        None, description="With `stream`: the `sequence_number` after which events are wanted."
    )


class ItemsQuery(Query):
    """Which input items to list."""

    order: Literal["asc", "desc"] = Field("desc", description="`asc`: oldest first.")
    after: str | None = Field(None, description="The id of the last item of the page before.")
    limit: Annotated[int, Field(ge=1, le=100), DIGITS] = Field(20, description="The most items.")


class ItemList(TypedDict):
    """Items of a response's input."""

    object: Literal["list"]
    data: list[dict[str, Any]]
    first_id: str | None
    last_id: str | None
    has_more: bool


class Deleted(TypedDict):
    """The response is deleted."""

    id: str
    object: Literal["response"]
    deleted: bool


class ResponseEvent(TypedDict):
    """One event of a stream. Its other fields depend on its type."""

    type: str
    sequence_number: int


_RESPONSE = json_content(ResponseDocument, lambda: _example_fold().resource())
_EVENTS = Content("text/event-stream", item=ResponseEvent, example=lambda: _example_stream())


def _example_fold() -> ResponseFold:
    fold = ResponseFold(JOB, {})
    fold.add_all([raw for _entry_id, raw in ROWS])
    return fold


def _example_stream() -> bytes:
    stream = ResponseStream(JOB, {})
    return stream.opening() + stream.entries(ROWS)


@blueprint.post("/v1/responses")
@scope("jobs:write")
@Contract(
    body=[json_content(ResponsesRequest, lambda: {"model": "demo", "input": "Why is the sky blue?"})],
    headers=[IDEMPOTENCY_KEY, ON_DISCONNECT],
    answers={
        200: Answer("The response; with `stream`, its events.", [_RESPONSE, _EVENTS], [LOCATION, SPOOL_JOB, REPLAYED])
    },
    errors=[404, 409, 410, 413, 415, 422, 429, 502, 503, 504],
)
def create() -> Response:
    """OpenAI's response: whole, as a stream, or in the background. It continues if the client disconnects."""
    services = state()
    asked, idempotency = parse(ResponsesRequest)
    asked.check()
    draft, echo = draft_of(services, asked, idempotency)
    seal = seal_of(services, echo)
    with Slot(services.slots) as slot:
        submitted = accept_turn(services, draft, echo, slot if asked.stream or not asked.background else None)
        job = submitted.job
        fold = ResponseFold(job, echo, seal)
        with accepted(submitted, f"/v1/responses/resp_{job.id}") as headers:
            if asked.stream:
                if not asked.background:
                    # A background response is read by its id, which its stream tells at once.
                    refuse_early_failure(services, job, headers)
                stream = TranslatedStream(services.checkpoints, job, ResponseStream(job, echo, seal=seal))
                return translated(job, stream, headers, slot)
            if asked.background:
                return json_response(_now(services, job, echo), 200, headers)
            if not wait_for_all(services, job, fold):
                return Response(status=CLIENT_LEFT)
    if fold.failure is not None:
        raise problem_of_failure(failure_of(fold.failure), headers)
    return json_response(fold.resource(), 200, headers)


@blueprint.get("/v1/responses/<response_id>")
@scope("jobs:read")
@Contract(
    query=Retrieval,
    answers={200: Answer("The response; with `stream`, its events.", [_RESPONSE, _EVENTS], [LOCATION, SPOOL_JOB])},
    errors=[404, 409, 410, 422, 429, 503],
)
def retrieve(response_id: str) -> Response:
    """The current response; with ``stream=true``, its events after ``starting_after``."""
    services = state()
    asked = query(Retrieval)
    job = services.store.look(job_id_of(response_id, PREFIX), auth.owner())
    echo = _echo_of(services, job)
    if asked.stream:
        after = -1 if asked.starting_after is None else asked.starting_after
        translation = ResponseStream(job, echo, after=after, seal=seal_of(services, echo))
        stream = TranslatedStream(services.checkpoints, job, translation)
        return translated(job, stream, {"Location": f"/jobs/{job.id}", "X-Spool-Job": job.id})
    return json_response(_now(services, job, echo))


@blueprint.post("/v1/responses/<response_id>/cancel")
@scope("jobs:write")
@Contract(answers={200: Answer("The response.", [_RESPONSE])}, errors=[404, 409, 410, 503])
def cancel(response_id: str) -> Response:
    """Cancel the response, in any state, any number of times. Waits up to 2 s for its end, then answers it; for a key
    that may not read it, its state alone."""
    services = state()
    job = services.store.cancel(job_id_of(response_id, PREFIX), auth.owner())
    # The cancellation holds even if the end cannot be awaited.
    with suppress(TooManyStreams, StoreUnavailable):
        if not job.ended and wait_for_end(services, job, _CANCEL_S):
            job = services.store.look(job.id, job.owner, with_text=True)
    document = _now(services, job, _echo_of(services, job))
    if not auth.caller().may("jobs:read", "show"):
        document = resource(job, {}, Outcome(document["status"]))
    return json_response(document)


@blueprint.delete("/v1/responses/<response_id>")
@scope("jobs:write")
@Contract(
    answers={200: Answer("The response is deleted.", [json_content(Deleted, lambda: _deleted(f"resp_{JOB.id}"))])},
    errors=[404, 409, 410, 503],
)
def delete(response_id: str) -> Response:
    """Delete an ended response."""
    services, job_id = state(), job_id_of(response_id, PREFIX)
    _keep_turn(services, job_id)
    services.store.delete(job_id, auth.owner())
    return json_response(_deleted(response_id))


def _keep_turn(services: State, job_id: str) -> None:
    """Add the response's turn to its conversation, which keeps it."""
    job = services.store.look(job_id, auth.owner())
    asked = _echo_of(services, job).get("conversation") if job.ended and job.surface == SURFACE else None
    if asked:
        with suppress(ConversationNotFound, ConversationDamaged):
            conversation_of(services, asked["id"], job.owner, presence(request.environ))


def _deleted(response_id: str) -> Deleted:
    return {"id": response_id, "object": "response", "deleted": True}


@blueprint.get("/v1/responses/<response_id>/input_items")
@scope("jobs:read")
@Contract(
    query=ItemsQuery,
    answers={200: Answer("The items.", [json_content(ItemList, lambda: _page([], has_more=False))])},
    errors=[404, 409, 410, 422, 503],
)
def input_items(response_id: str) -> Response:
    """The input items of this turn, newest first unless ``order=asc``."""
    services = state()
    job = services.store.look(job_id_of(response_id, PREFIX), auth.owner())
    with building():
        return _input_items(services, job)


def _input_items(services: State, job: Job) -> Response:
    stored, asked = services.store.input_of(job.id), query(ItemsQuery)
    echo = stored.get("request", {})
    called = {name: Called(*fields) for name, fields in echo.get("called", {}).items()}
    items = items_of(stored["messages"][echo.get("turn", 0) :], job.id, called)
    if asked.order != "asc":
        items.reverse()
    page, has_more = page_of(items, asked.after, asked.limit)
    return json_response(_page(page, has_more=has_more))


def _page(items: list[dict[str, Any]], *, has_more: bool) -> ItemList:
    return {
        "object": "list",
        "data": items,
        "first_id": items[0]["id"] if items else None,
        "last_id": items[-1]["id"] if items else None,
        "has_more": has_more,
    }


def _echo_of(services: State, job: Job) -> Mapping[str, Any]:
    echo: Mapping[str, Any] = services.store.input_of(job.id).get("request") or {}
    return echo


def _now(services: State, job: Job, echo: Mapping[str, Any]) -> dict[str, Any]:
    """The current Response object. While the job runs, it has the text so far from the record."""
    if job.status is Status.RUNNING:
        job = services.store.look(job.id, job.owner, with_text=True)
    if job.ended:
        return _folded(services, job, echo).resource(echo)
    outcome = Outcome("queued" if job.status is Status.QUEUED else "in_progress")
    if job.text:
        item = TextItem(f"msg_{job.id}_0", 0, reasoning=False)
        item.add(job.text)
        outcome.output = [item.item()]
    return resource(job, echo, outcome)


def _folded(services: State, job: Job, echo: Mapping[str, Any]) -> ResponseFold:
    fold, is_wanted = ResponseFold(job, echo, seal_of(services, echo)), presence(request.environ)
    if job.ended:
        return services.folds.result(job, fold, is_wanted)
    services.folds.fold(job, fold, is_wanted)
    return fold
