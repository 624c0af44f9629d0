"""``GET /durable/{job}``: catch-up reads, long polling and server-sent events; ``HEAD`` tells where the log ends."""

from __future__ import annotations

import time
from typing import Annotated, Literal

import orjson
from flask import Blueprint, Response, request
from pydantic import Field

from spool.jobs.job import Job
from spool.switches.switch import Transport
from web import auth
from web.arguments import Query, query
from web.auth import scope
from web.contract import Answer, Content, Contract, Parameter, json_content
from web.delivery.formats import sse
from web.delivery.found_entries import Found, catch_up, poll
from web.delivery.streaming import continued
from web.durable_streams.events import Control, DurableEvents, DurableMessage, DurablePages, array
from web.durable_streams.offsets import NOW, entry_before, next_cursor, offset_of
from web.examples import ROWS
from web.limits.transports import refuse_media_type, refuse_off
from web.problems import Problem, field_problem
from web.services import state

blueprint = Blueprint("durable_streams", __name__)

_ENTRIES_AT_MOST = 20_000
_WAIT_S = 25
_LINGER_S = 0.05
_JSON = "application/json"
_LABEL = "durable"
_NEXT = Parameter("Stream-Next-Offset", str, "The offset after the entries of this answer.")
_UP_TO_DATE = Parameter("Stream-Up-To-Date", Literal["true"], "There are no more entries yet.")
_CLOSED = Parameter("Stream-Closed", Literal["true"], "The log has ended, and there will be no more entries.")
_CURSOR = Parameter("Stream-Cursor", str, "To be sent with the next request, as `cursor`.")
_HEADERS = [_NEXT, _UP_TO_DATE, _CLOSED, _CURSOR]


class DurableQuery(Query):
    """From where to read, and how."""

    offset: Annotated[str, Field(max_length=32)] | None = Field(
        None, description="An offset of this stream, `-1` for its start (also by default), `now` for its end."
    )
    live: Literal["long-poll", "sse"] | None = Field(
        None, description="How to wait for entries; by default not at all."
    )
    cursor: Annotated[str, Field(max_length=32)] = Field("", description="The cursor of the last answer.")


@blueprint.get("/durable/<job_id>")
@scope("jobs:read", shared="durable", is_stream=True)
@Contract(
    query=DurableQuery,
    answers={
        200: Answer(
            "The entries after the offset.",
            [
                json_content(list[DurableMessage], lambda: orjson.loads(array(ROWS))),
                Content(sse.MEDIA_TYPE, item=list[DurableMessage] | Control, example=lambda: _example()),
            ],
            _HEADERS,
        ),
        204: Answer("No entry came in time.", headers=_HEADERS),
        304: Answer("The client has this answer."),
    },
    errors=[400, 404, 409, 410, 429, 503],
)
def read(job_id: str) -> Response:
    """A job's log as a durable stream, whose messages are the log's entries. Its terminal entry closes the stream."""
    job = state().store.look(job_id, auth.owner())
    auth.refuse_outside(job)
    if request.method == "HEAD":
        return _head(job)
    asked = _asked()
    after = entry_before(asked.offset, job.last_entry)
    if after > job.last_entry and job.ended:
        raise _gone(job, f"the log ends before entry {after}; read it from its start")
    if asked.live == "sse":
        return _events(job, after, asked)
    if asked.live == "long-poll":
        return _polled(job, after, asked)
    found = Found(_ENTRIES_AT_MOST)
    if asked.offset == NOW:
        found.ended, found.is_up_to_date = job.ended, True
        return _answer(job, after, found)
    catch_up(state(), job, after, found)
    response = _answer(job, after, found)
    response.headers["Cache-Control"] = "private, no-cache"
    response.set_etag(f"{job.id}:{after}:{found.following(after)}")
    response.make_conditional(request)
    return response


def _asked() -> DurableQuery:
    asked = query(DurableQuery, status=400)
    if len(request.args.getlist("offset")) > 1:
        raise field_problem("offset", "must be there once", status=400)
    if asked.live and asked.offset is None:
        raise field_problem("offset", "must be there with live", status=400)
    return asked


def _head(job: Job) -> Response:
    headers = {_NEXT.name: offset_of(job.last_entry), "Cache-Control": "no-store"}
    if job.ended:
        headers[_CLOSED.name] = "true"
    response = Response(mimetype=_JSON, headers=headers)
    # The length is unknown.
    response.automatically_set_content_length = False
    return response


def _gone(job: Job, detail: str) -> Problem:
    return Problem(410, "Gone", detail, job=job.id)


def _polled(job: Job, after: int, asked: DurableQuery) -> Response:
    refuse_off(state().switches, Transport.LONG_POLLING)
    found = Found(_ENTRIES_AT_MOST)
    poll(state(), job, after, found, _WAIT_S, _LINGER_S)
    response = _answer(job, after, found)
    if not found.rows:
        response.status_code = 204
        response.set_data(b"")
    if not found.ended:
        response.headers[_CURSOR.name] = next_cursor(asked.cursor, time.time())
    return response


def _answer(job: Job, after: int, found: Found) -> Response:
    if found.gap is not None:
        # Spool never trims a log: they were lost.
        raise _gone(job, f"entries after {after} are missing")
    headers = {_NEXT.name: offset_of(found.following(after)), "Cache-Control": "no-store"}
    if found.is_up_to_date:
        headers[_UP_TO_DATE.name] = "true"
    if found.ended:
        headers[_CLOSED.name] = "true"
    return Response(array(found.rows), mimetype=_JSON, headers=headers)


def _events(job: Job, after: int, asked: DurableQuery) -> Response:
    refuse_media_type(state().switches, sse.MEDIA_TYPE)
    is_closed = job.ended and after == job.last_entry
    events = DurableEvents(after, job.last_entry, next_cursor(asked.cursor, time.time()), is_closed=is_closed)
    headers = {_NEXT.name: offset_of(after)}
    if is_closed:
        return Response(events.opening(), mimetype=sse.MEDIA_TYPE, headers={**sse.HEADERS, **headers})
    folds = state().folds
    return continued(job, after, lambda frame: DurablePages(events, frame, folds), events.opening(), headers, _LABEL)


def _example() -> bytes:
    return DurableEvents(0, ROWS[-1][0], "1").entries(ROWS)
