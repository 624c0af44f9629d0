"""``GET /jobs/{id}/stream``: the log as SSE, NDJSON or bare text, by ``Accept``; and what all pushed streams share."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any

from flask import Blueprint, Response, request

from spool.errors import Draining
from spool.following.reader import Reader
from spool.jobs.job import Job, Status
from web import auth, ndjson, sse, text
from web.auth import scope
from web.handover import StreamResponse
from web.metrics import STREAMS
from web.negotiation import best_media_type
from web.problems import Problem, field_problem
from web.pushed import Format, Pushed
from web.state import state
from web.streams import Peer

blueprint = Blueprint("stream", __name__)

MEDIA_TYPES = (sse.MEDIA_TYPE, ndjson.MEDIA_TYPE, text.MEDIA_TYPE)
"""What a log is streamed as; the first unless ``Accept`` asks for another."""

_CURSOR = re.compile(r"[0-9]{1,18}")


def cursor_of(value: str | None, name: str) -> int:
    """A cursor from the outside: a number ≥ 0; nothing or empty is 0."""
    if not value:
        return 0
    if not _CURSOR.fullmatch(value):
        raise field_problem(name, "must be the number of an entry, or 0", status=400)
    return int(value)


def requested_cursor() -> int:
    """``Last-Event-ID``, if not empty, beats ``after``."""
    last_event_id = request.headers.get("Last-Event-ID", "").strip()
    if last_event_id:
        return cursor_of(last_event_id, "Last-Event-ID")
    return cursor_of(request.args.get("after"), "after")


def wanted_by_submit() -> str | None:
    """The stream that a submit asks for instead of its own answer, which is JSON; None for that."""
    wanted = best_media_type(["application/json", *MEDIA_TYPES])
    return wanted if wanted != "application/json" else None


def attached_document(job: Job, after: int) -> dict[str, Any]:
    """What a stream says first."""
    return {"type": "attached", "job": job.id, "status": job.status, "after": after, "last": job.last_entry}


@blueprint.get("/jobs/<job_id>/stream")
@scope("jobs:read")
def stream(job_id: str) -> Response:
    """Follow a job's log. Goes on until its end, over any number of reconnects."""
    after = requested_cursor()
    job = state().store.look(job_id, auth.owner())
    media_type = best_media_type(MEDIA_TYPES)
    if media_type is None:
        raise Problem(406, "Not acceptable", f"accept one of {', '.join(MEDIA_TYPES)}, or send no Accept")
    if media_type == sse.MEDIA_TYPE and job.ended and after == job.last_entry:
        # The one answer on which an EventSource stops for good.
        return Response(status=204, headers={"Cache-Control": "no-store"})
    return streamed(job, after, media_type)


def streamed(
    job: Job, after: int, media_type: str, *, submitted: bool = False, place: ExitStack | None = None
) -> Response:
    """The stream itself. What it holds (slot, reader) is released when it ends, however it does; for bare text that is
    when the response closes. ``place`` holds its slot already."""
    here = state()
    if place is None:
        here.refuse_streams(job.owner)
    elif here.draining:
        raise Draining
    headers = {**sse.HEADERS, "Location": f"/jobs/{job.id}"}
    if request.method == "HEAD":
        return head_response(media_type, headers)
    with place or ExitStack() as entering:
        if place is None:
            entering.enter_context(here.slots.one(job.owner))
        entering.enter_context(STREAMS.labels(media_type).track_inprogress())
        reader = entering.enter_context(here.follower.attach(job, after))
        held = entering.pop_all()
    if media_type == text.MEDIA_TYPE:
        return _text(job, after, reader, held, headers)
    form: Format = sse.SSE
    if media_type == ndjson.MEDIA_TYPE:
        form = ndjson.FORMATS[request.args.get("ping") == "1", submitted]
    stream = Pushed(
        reader,
        form,
        form.opening(attached_document(job, after)),
        held.close,
        heartbeat_s=here.settings.heartbeat_s,
        stall_s=here.settings.stall_s,
        unsent=here.unsent,
    )
    return StreamResponse(stream, media_type, headers)


def head_response(media_type: str, headers: Mapping[str, str]) -> Response:
    """The answer to HEAD for a stream: nothing begins, and its length is not known."""
    response = Response(mimetype=media_type, headers=headers)
    response.automatically_set_content_length = False
    return response


def _text(job: Job, after: int, reader: Reader, held: ExitStack, headers: Mapping[str, str]) -> Response:
    peer = Peer(request.environ)
    held.callback(peer.close)
    peer.watch(reader.wake)
    response = Response(_text_body(job, after, reader, peer), mimetype=text.MEDIA_TYPE, headers=headers)
    response.headers["Content-Type"] = "text/plain; charset=utf-8"
    response.call_on_close(held.close)
    return response


def _text_body(job: Job, after: int, reader: Reader, peer: Peer) -> Iterator[bytes]:
    if job.status is Status.SUCCEEDED and after == job.last_entry:
        return iter(())
    if after == 0:
        # From the beginning: that of the attempt that counts.
        reader.cursor = job.attempt_first - 1
    return text.stream_text(state().folds, reader, peer, state().settings.heartbeat_s, said=after > 0)
