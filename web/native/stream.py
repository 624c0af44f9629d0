"""``GET /jobs/{id}/stream``: the log as SSE, NDJSON or bare text, by ``Accept``."""

from __future__ import annotations

from flask import Blueprint, Response, request

from web import auth
from web.arguments import LAST_EVENT_ID, LATEST, query, requested_place
from web.auth import scope
from web.contract import LOCATION, Answer, Contract
from web.delivery.formats import sse, text
from web.delivery.streaming import MEDIA_TYPES, streamed
from web.limits.transports import refuse_media_type
from web.native.beginning import beginning
from web.native.stream_contract import LOG_STREAMS, StreamQuery
from web.negotiation import best_media_type
from web.problems import Problem, answer_at
from web.server.peer import presence
from web.services import state

blueprint = Blueprint("stream", __name__)

_TEMPORARY = frozenset({429, 503})


def _unavailable(problem: Problem) -> Response | None:
    """For temporary refusals, a 200 that EventSource retries: it stops for good on any 4xx or 5xx."""
    if problem.status in _TEMPORARY and best_media_type(MEDIA_TYPES) == sse.MEDIA_TYPE:
        return sse.unavailable_response(problem.title, problem.detail)
    return None


answer_at("stream.stream", _unavailable)


@blueprint.get("/jobs/<job_id>/stream")
@scope("jobs:read", shared="stream", is_stream=True)
@Contract(
    query=StreamQuery,
    headers=[LAST_EVENT_ID],
    answers={
        200: Answer("The entries after the cursor, until the log ends; by `Accept`.", LOG_STREAMS, [LOCATION]),
        204: Answer("Server-sent events: the log has ended, and the client has all of it."),
    },
    errors=[404, 406, 409, 410, 422, 429, 503],
)
def stream(job_id: str) -> Response:
    """Stream a job's log until its end. Reconnects resume after ``Last-Event-ID`` or ``after``. ``snapshot=1`` begins
    with the answer so far, for a client without a cursor."""
    place, asked = requested_place(), query(StreamQuery)
    job = state().store.look(job_id, auth.owner())
    auth.refuse_outside(job)
    media_type = best_media_type(MEDIA_TYPES)
    if media_type is None:
        raise Problem(406, "Not acceptable", f"accept one of {', '.join(MEDIA_TYPES)}, or send no Accept")
    refuse_media_type(state().switches, media_type)
    wants_snapshot = asked.snapshot == "1" and media_type != text.MEDIA_TYPE
    after, snapshot = beginning(state(), job, place, snapshot=wants_snapshot, is_wanted=presence(request.environ))
    if media_type == sse.MEDIA_TYPE and job.ended and after == job.last_entry:
        # 204 stops an EventSource for good.
        return Response(status=204, headers={"Cache-Control": "no-store"})
    return streamed(
        job,
        after,
        media_type,
        heartbeat=asked.visible_heartbeat,
        snapshot=snapshot,
        is_relative=place < 0 or place == LATEST,
    )
