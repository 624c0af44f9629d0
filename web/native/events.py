"""``GET /events``: what happens to the caller's jobs and batches, as a stream or by long polling."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import orjson
from flask import Blueprint, Response, request
from pydantic import Field
from typing_extensions import TypedDict

from spool.jobs.event_logs import begin, events_as_log, log_of_events
from spool.jobs.log import Logs
from spool.switches.switch import Transport
from web import auth
from web.arguments import DIGITS, LAST_EVENT_ID, LATEST, Place, cursor_of, query
from web.auth import scope
from web.contract import Answer, Content, Contract, json_content
from web.delivery.formats import ndjson, sse
from web.delivery.found_entries import WAIT_AT_MOST_S, Found, poll
from web.delivery.streaming import streamed_in
from web.examples import JOB
from web.limits.transports import refuse_media_type, refuse_off
from web.native.beginning import Heartbeats
from web.native.entry_document import GapDocument, GapMessage, Heartbeat, Notice, Reconnect, Unavailable
from web.native.event_document import FORMATS, EventDocument, event_document, selection
from web.native.job_document import job_document
from web.negotiation import best_media_type
from web.problems import Problem, answer_at
from web.services import state
from web.time_slices import in_slices

blueprint = Blueprint("events", __name__)

_JSON = "application/json"
_MEDIA_TYPES = (sse.MEDIA_TYPE, ndjson.MEDIA_TYPE, _JSON)
_TEMPORARY = frozenset({429, 503})
_LABEL = "events"


class EventsQuery(Heartbeats):
    """Which events to answer with, and where to begin."""

    after: Place = Field(
        LATEST,
        description="The id of the last event that the client has; 0 for all that are kept, `-N` for the last N. By "
        "default, only events from now on.",
    )
    batch: str | None = Field(None, description="Only events of this batch, and of jobs in it.")
    conversation: str | None = Field(None, description="Only events of jobs of this conversation.")
    wait_s: Annotated[int, Field(ge=0), DIGITS] = Field(
        25,
        alias="wait",
        description=f"With `Accept: application/json`: seconds to wait for the first event, at most {WAIT_AT_MOST_S}.",
    )
    limit: Annotated[int, Field(ge=1, le=1000), DIGITS] = Field(100, description="The most events of such an answer.")


class EventsAttached(TypedDict):
    """The first message of a stream: the client has the events up to ``after``."""

    type: str
    after: int
    last: int


class EventList(TypedDict):
    """Events, and the cursor for the next request."""

    entries: list[EventDocument]
    next: int
    gap: GapDocument | None


_EXAMPLE: dict[str, Any] = {"id": 17952534001230, "kind": "job.succeeded", "at": "2026-11-21T09:30:01.373Z"}
_MESSAGES = EventDocument | EventsAttached | GapMessage | Heartbeat | Notice | Reconnect | Unavailable


def _example() -> dict[str, Any]:
    return {**_EXAMPLE, "job": job_document(JOB, with_text=False)}


def _as_sse() -> bytes:
    return sse.SSE.entry(_EXAMPLE["id"], orjson.dumps(_example()))


def _unavailable(problem: Problem) -> Response | None:
    """For temporary refusals, a 200 that EventSource retries: it stops for good on any 4xx or 5xx."""
    if problem.status in _TEMPORARY and best_media_type(_MEDIA_TYPES) == sse.MEDIA_TYPE:
        return sse.unavailable_response(problem.title, problem.detail)
    return None


answer_at("events.events", _unavailable)


@blueprint.get("/events")
@scope("jobs:read", is_stream=True)
@Contract(
    query=EventsQuery,
    headers=[LAST_EVENT_ID],
    answers={
        200: Answer(
            "The events after the cursor, as they happen; by `Accept`.",
            [
                Content(sse.MEDIA_TYPE, item=_MESSAGES, example=_as_sse),
                Content(ndjson.MEDIA_TYPE, item=_MESSAGES, example=lambda: orjson.dumps(_example()) + b"\n"),
                json_content(EventList, lambda: {"entries": [_example()], "next": _EXAMPLE["id"], "gap": None}),
            ],
        ),
    },
    errors=[406, 422, 429, 501, 503],
)
def events() -> Response:
    """What happens to the caller's jobs and batches. They are recorded while they are read and for an hour after, ten
    thousand at most; a reconnect resumes after ``Last-Event-ID`` or ``after``."""
    asked, services = query(EventsQuery), state()
    last_event_id = request.headers.get(LAST_EVENT_ID.name, "").strip()
    place = cursor_of(last_event_id, LAST_EVENT_ID.name) if last_event_id else asked.after
    media_type = best_media_type(_MEDIA_TYPES)
    if media_type is None:
        raise Problem(406, "Not acceptable", f"accept one of {', '.join(_MEDIA_TYPES)}, or send no Accept")
    if media_type == _JSON:
        if asked.wait_s > 0:
            refuse_off(services.switches, Transport.LONG_POLLING)
        return _polled(asked, place)
    refuse_media_type(services.switches, media_type)
    last, after = _begin(place)
    form = FORMATS[media_type, asked.heartbeat == "event"]
    is_relative = place < 0 or place == LATEST
    message = {"type": "attached", "after": after, "last": last}
    return streamed_in(
        events_as_log(auth.owner(), last),
        after,
        form,
        media_type,
        opening=form.opening(message, is_relative=is_relative),
        location="/events",
        label=_LABEL,
        is_wanted=_selection(asked),
    )


def _selection(asked: EventsQuery) -> Callable[[bytes], bool] | None:
    """Which events the caller gets: batches need their own scope."""
    return selection(asked.batch, asked.conversation, with_batches="batches" in auth.caller().scopes)


def _begin(place: int) -> tuple[int, int]:
    """Keep the caller's events from now on. Returns the id of the last one, and the cursor of a place. Raises a 501
    ``Problem`` for several shards, since each of them would have events of its own."""
    owner, shards = auth.owner(), state().shards
    if len(shards) > 1:
        raise Problem(501, "Not implemented", "events exist only with one shard (SPOOL_SHARDS)")
    link = next(iter(shards)).link
    last = begin(link, owner)
    if place == LATEST:
        return last, last
    if place < 0:
        # Without an event there is none before it.
        return last, Logs(link).before_last(log_of_events(owner), -place) or last
    return last, place


def _polled(asked: EventsQuery, place: int) -> Response:
    """Long polling. An answer may have no events although there were some, if the query is for others."""
    services, owner = state(), auth.owner()
    last, after = _begin(place)
    found, wait_s = Found(asked.limit), min(asked.wait_s, WAIT_AT_MOST_S)
    poll(services, events_as_log(owner, last), after, found, wait_s)
    is_wanted = _selection(asked)
    entries = [event_document(raw) for _id, raw in in_slices(found.rows) if is_wanted is None or is_wanted(raw)]
    body = orjson.dumps({"entries": entries, "next": found.following(after), "gap": found.gap and found.gap.public()})
    return Response(body, mimetype=_JSON, headers={"Cache-Control": "no-store"})
