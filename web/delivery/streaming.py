"""Streams of a log in one of the formats: media types, resources and start."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any

from flask import Response, request

from spool.errors import Draining
from spool.following.reader import Reader
from spool.jobs.job import Job, Status
from web.delivery.formats import ndjson, sse, text
from web.delivery.live import Format, LiveStream
from web.delivery.peer import Peer
from web.metrics import STREAMS
from web.negotiation import best_media_type
from web.server.hijack import StreamResponse
from web.services import state

MEDIA_TYPES = (sse.MEDIA_TYPE, ndjson.MEDIA_TYPE, text.MEDIA_TYPE)
"""The media types of a log's stream; the first is the default."""


def wanted_by_submit() -> str | None:
    """The stream's media type that a submit requests; None for the usual JSON response."""
    wanted = best_media_type(["application/json", *MEDIA_TYPES])
    return wanted if wanted != "application/json" else None


def attached_document(job: Job, after: int) -> dict[str, Any]:
    """The first event of a stream."""
    return {"type": "attached", "job": job.id, "status": job.status, "after": after, "last": job.last_entry}


def streamed(
    job: Job, after: int, media_type: str, *, submitted: bool = False, place: ExitStack | None = None
) -> Response:
    """The stream's response. Its slot and reader are released when the stream ends; for bare text, when the response
    closes. ``place`` holds an already acquired slot. Raises ``Draining``, ``TooManyStreams``."""
    services = state()
    if place is None:
        services.refuse_streams(job.owner)
    elif services.draining:
        raise Draining
    headers = {**sse.HEADERS, "Location": f"/jobs/{job.id}"}
    if request.method == "HEAD":
        return head_response(media_type, headers)
    with place or ExitStack() as entering:
        if place is None:
            entering.enter_context(services.slots.one(job.owner))
        entering.enter_context(STREAMS.labels(media_type).track_inprogress())
        reader = entering.enter_context(services.follower.attach(job, after))
        held = entering.pop_all()
    if media_type == text.MEDIA_TYPE:
        return _text(job, after, reader, held, headers)
    form: Format = sse.SSE
    if media_type == ndjson.MEDIA_TYPE:
        form = ndjson.FORMATS[request.args.get("ping") == "1", submitted]
    stream = LiveStream(
        reader,
        form,
        form.opening(attached_document(job, after)),
        held.close,
        heartbeat_s=services.settings.heartbeat_s,
        stall_s=services.settings.stall_s,
        unsent=services.unsent,
    )
    return StreamResponse(stream, media_type, headers)


def head_response(media_type: str, headers: Mapping[str, str]) -> Response:
    """The response to HEAD for a stream: it starts nothing, and its length is unknown."""
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
        # A reader from the beginning starts at the current attempt.
        reader.cursor = job.attempt_first - 1
    return text.stream_text(state().folds, reader, peer, state().settings.heartbeat_s, has_text=after > 0)
