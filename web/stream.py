"""``GET /jobs/{id}/stream``: the log as SSE, NDJSON or bare text, by ``Accept``; and what all pushed streams share."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, Protocol

from flask import Blueprint, Response, request

from spool.errors import StoreUnavailable
from spool.feed import Encoder
from spool.jobs import Job, Status
from spool.log import Gap
from spool.reader import Reader
from web import auth, ndjson, sse, text
from web.auth import scope
from web.metrics import STREAMS
from web.problems import Problem, field_problem
from web.state import state
from web.streams import Peer

blueprint = Blueprint("stream", __name__)

_CURSOR = re.compile(r"[0-9]{1,18}")


class Format(Encoder, Protocol):
    """A pushed transport: entries, and what is not an entry, as bytes."""

    media_type: str

    def opening(self, attached: dict[str, Any]) -> bytes: ...
    def gap(self, gap: Gap) -> bytes: ...
    def gone(self) -> bytes: ...
    def heartbeat(self, last: int) -> bytes: ...
    def reconnect(self) -> bytes: ...
    def unavailable(self, reason: str, detail: str) -> bytes: ...


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


def wanted_media_type() -> str | None:
    """The stream that ``Accept`` asks for by name, or None."""
    names = [sse.MEDIA_TYPE, ndjson.MEDIA_TYPE, text.MEDIA_TYPE]
    if not any(name in request.headers.get("Accept", "") for name in names):
        return None
    if request.method == "POST" and "*/*" in request.headers.get("Accept", ""):
        # Clients that take anything list plain text out of habit (axios, jQuery); a submit's own answer is JSON.
        names.remove(text.MEDIA_TYPE)
    wanted = request.accept_mimetypes.best_match(["application/json", *names])
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
    accept = request.headers.get("Accept", "*/*")
    media_type = wanted_media_type() or (sse.MEDIA_TYPE if "*/*" in accept or "text/*" in accept else None)
    if media_type is None:
        raise Problem(406, "Not acceptable", "this is text/event-stream, application/x-ndjson or text/plain")
    if media_type == sse.MEDIA_TYPE and job.ended and after == job.last_entry:
        # The one answer on which an EventSource stops for good.
        return Response(status=204, headers={"Cache-Control": "no-store"})
    return streamed(job, after, media_type)


def streamed(job: Job, after: int, media_type: str, *, submitted: bool = False) -> Response:
    """The stream itself. What it holds (slot, reader, watcher) is released when the response closes, whether or not
    anybody ever asked for its first byte."""
    here = state()
    here.refuse_streams()
    with ExitStack() as entering:
        entering.enter_context(here.slots.one())
        entering.enter_context(STREAMS.labels(media_type).track_inprogress())
        reader = entering.enter_context(here.follower.attach(job, after))
        peer = Peer(request.environ)
        entering.callback(peer.close)
        peer.watch(reader.wake)
        held = entering.pop_all()
    body = _body(job, after, media_type, reader, peer, submitted=submitted)
    response = Response(body, mimetype=media_type, headers=sse.HEADERS)
    if media_type == text.MEDIA_TYPE:
        response.headers["Content-Type"] = "text/plain; charset=utf-8"
    response.headers["Location"] = f"/jobs/{job.id}"
    response.call_on_close(held.close)
    return response


def _body(job: Job, after: int, media_type: str, reader: Reader, peer: Peer, *, submitted: bool) -> Iterator[bytes]:
    heartbeat_s = state().settings.heartbeat_s
    if media_type == text.MEDIA_TYPE:
        if job.status is Status.SUCCEEDED and after == job.last_entry:
            return iter(())
        if after == 0:
            # From the beginning: that of the attempt that counts.
            reader.cursor = job.attempt_first - 1
        return text.stream_text(reader, peer, heartbeat_s, said=after > 0)
    form: Format = sse.SSE
    if media_type == ndjson.MEDIA_TYPE:
        form = ndjson.FORMATS[request.args.get("ping") == "1", submitted]
    return push(reader, form, peer, heartbeat_s, form.opening(attached_document(job, after)))


def push(reader: Reader, form: Format, peer: Peer, heartbeat_s: float, opening: bytes) -> Iterator[bytes]:
    """Whatever has gathered for the reader, in one piece per wake-up, until the log ends or the client leaves."""
    # Even if it is empty: gunicorn sends the headers with the first piece, and a silent job must not hold them back.
    yield opening
    # A little early: the follower looks at idle readers twice a second.
    heartbeat_s = max(heartbeat_s - 0.5, heartbeat_s * 0.5)
    beat_at = time.monotonic() + heartbeat_s
    while True:
        try:
            taken = reader.take(form)
        except StoreUnavailable:
            yield form.unavailable("Store unavailable", "Redis cannot be reached or cannot answer now")
            return
        if taken is not None:
            data = form.gap(taken.gap) + taken.data if taken.gap is not None else taken.data
            if taken.gone:
                data += form.gone()
            if left := peer.send(data):
                yield left
            if taken.ended:
                return
            beat_at = time.monotonic() + heartbeat_s
        reader.tick_at = beat_at
        if reader.wait():
            if not reader.must_leave:
                continue
        elif peer.gone:
            return
        if reader.must_leave:
            yield form.reconnect()
            return
        if time.monotonic() >= beat_at:
            beat = form.heartbeat(reader.cursor)
            if beat:
                yield beat
            beat_at = time.monotonic() + heartbeat_s
