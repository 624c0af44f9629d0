"""The start of streams over HTTP: media types, slots, and the response that becomes a ``LiveStream``."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from flask import Response, request

from spool.errors import Draining, OwnerStreamsFull
from spool.following.reader import Reader
from spool.jobs.job import Job, Status
from web import auth
from web.checkpoints import Frame
from web.delivery.encoding import Encoding, PerReader, ReaderFormat, Selected, Shared, SharedFormat, bare, chunk
from web.delivery.formats import ndjson, sse, text
from web.delivery.live import LiveStream
from web.limits.streams import Slot
from web.limits.transports import refuse_media_type
from web.metrics import STREAM_TIME, STREAMS, STREAMS_BEGUN, STREAMS_ENDED
from web.negotiation import best_media_type
from web.server.hijack import StreamResponse
from web.services import state

MEDIA_TYPES = (sse.MEDIA_TYPE, ndjson.MEDIA_TYPE, text.MEDIA_TYPE)
"""The media types of a log's stream; the first is the default."""


class Opened(SharedFormat, Protocol):
    """A shared format that begins with the document of the stream."""

    def opening(self, attached: Mapping[str, Any], *, is_relative: bool = False) -> bytes: ...
    def snapshot(self, document: Mapping[str, Any]) -> bytes: ...


class Translated(ReaderFormat, Protocol):
    """A stream of another protocol. It gets all entries of its log from the first, so that every instance makes the
    same stream of the same log."""

    name: str
    """The stream's label in metrics."""

    def opening(self) -> bytes:
        """The bytes sent at once; may be empty."""
        ...


_FORMATS: tuple[Opened, ...] = (*sse.FORMATS.values(), *ndjson.FORMATS.values())
_SHARED: dict[tuple[Opened, Frame], Shared] = {
    (form, frame): Shared(form, frame) for form in _FORMATS for frame in (chunk, bare)
}
"""One object per format and framing, so that entries are encoded once for all its streams."""


def wanted_by_submit() -> str | None:
    """The stream's media type that a submit requests; None for the usual JSON response. Raises
    ``TransportOff``, before a job is written."""
    wanted = best_media_type(["application/json", *MEDIA_TYPES])
    if wanted is None or wanted == "application/json":
        return None
    refuse_media_type(state().switches, wanted)
    return wanted


def streamed(
    job: Job,
    after: int,
    media_type: str,
    *,
    heartbeat: str = "",
    snapshot: Mapping[str, Any] | None = None,
    is_relative: bool = False,
    submitted: bool = False,
    location: str = "",
    slot: Slot | None = None,
) -> Response:
    """The job's log after an entry, in one of ``MEDIA_TYPES``. ``heartbeat`` names the visible form of heartbeats.
    ``snapshot`` is sent before the entries, and stands for those before ``after``. ``is_relative``: the request named
    its place from the log's end. ``location``: of the log, if it is not a job's. ``slot`` is one that is already
    taken. Raises ``Draining``, ``TooManyStreams``."""
    headers = {**sse.HEADERS, "Location": location or f"/jobs/{job.id}"}
    frame = _frame()
    if media_type == text.MEDIA_TYPE:
        is_complete = job.status is Status.SUCCEEDED and after == job.last_entry
        encoding = PerReader(text.Text(has_text=after > 0, is_complete=is_complete), frame, state().folds)
        # A reader from the beginning starts at the current attempt.
        start = after or job.attempt_first - 1
        return _started(job, start, encoding, b"", media_type, headers, slot)
    form: Opened
    if media_type == ndjson.MEDIA_TYPE:
        form = ndjson.FORMATS["heartbeat" if heartbeat == "event" else heartbeat, submitted]
    else:
        form = sse.FORMATS["event" if heartbeat == "event" else ""]
    attached = {"type": "attached", "job": job.id, "status": job.status, "after": after, "last": job.last_entry}
    opening = form.opening(attached, is_relative=is_relative) + (
        form.snapshot(snapshot) if snapshot is not None else b""
    )
    return _started(job, after, _SHARED[form, frame], opening, media_type, headers, slot)


def translated(
    job: Job,
    form: Translated,
    headers: Mapping[str, str],
    slot: Slot | None = None,
    *,
    media_type: str = sse.MEDIA_TYPE,
) -> Response:
    """The job's log from its start, as the events of another protocol. Raises like ``streamed``."""
    encoding, headers = PerReader(form, _frame(), state().folds), {**sse.HEADERS, **headers}
    # Patient, because its client cannot easily continue on another instance.
    return _started(job, 0, encoding, form.opening(), media_type, headers, slot, label=form.name, patient=True)


def continued(
    job: Job,
    after: int,
    encoding_of: Callable[[Frame], Encoding],
    opening: bytes,
    headers: Mapping[str, str],
    label: str,
) -> Response:
    """The job's log after an entry, as server-sent events of another protocol, whose clients continue at any instance.
    ``encoding_of`` makes its encoding on a kind of connection. Raises like ``streamed``."""
    headers = {**sse.HEADERS, **headers}
    return _started(job, after, encoding_of(_frame()), opening, sse.MEDIA_TYPE, headers, None, label=label)


def streamed_in(
    log: Job,
    after: int,
    form: Opened,
    media_type: str,
    *,
    opening: bytes,
    location: str,
    label: str,
    is_wanted: Callable[[bytes], bool] | None = None,
) -> Response:
    """A log after an entry in a shared format of its own, of which there is one object for all streams. ``is_wanted``
    chooses the entries that this stream gets. Raises like ``streamed``."""
    frame = _frame()
    if is_wanted is not None:
        encoding: Encoding = Selected(form, frame, is_wanted)
    else:
        encoding = _SHARED.setdefault((form, frame), Shared(form, frame))
    headers = {**sse.HEADERS, "Location": location}
    return _started(log, after, encoding, opening, media_type, headers, None, label=label)


def _frame() -> Frame:
    return chunk if request.environ.get("SERVER_PROTOCOL") == "HTTP/1.1" else bare


def _started(
    job: Job,
    after: int,
    encoding: Encoding,
    opening: bytes,
    media_type: str,
    headers: Mapping[str, str],
    slot: Slot | None,
    *,
    label: str | None = None,
    patient: bool = False,
) -> Response:
    """The response. Its slot and reader are released when the stream ends. HEAD starts no stream. ``label``: the
    stream's in metrics."""
    services = state()
    if slot is None:
        services.refuse_streams(job.owner)
    elif services.is_leaving:
        raise Draining
    if request.method == "HEAD":
        response = Response(mimetype=media_type, headers=headers)
        # The length is unknown.
        response.automatically_set_content_length = False
        return response
    with slot or services.slots.one(job.owner) as taken:
        reader = services.follower.attach(job, after, patient=patient)
        try:
            let_go = services.authenticator.tenures.hold(auth.caller(), reader.expel)
        except OwnerStreamsFull:
            reader.close()
            raise
        held = _Held(taken.move(), reader, label or media_type, let_go)
        STREAMS_BEGUN.labels(held.label, str(after > 0).lower()).inc()
    stream = LiveStream(held.reader, encoding, opening, held.release, heartbeat_s=services.settings.heartbeat_s)
    return StreamResponse(stream, media_type, headers)


class _Held:
    """What an open stream holds. Thousands of idle streams have one each: an ``ExitStack`` takes ten times as much."""

    __slots__ = ("_began", "_let_go", "_slot", "label", "reader")

    def __init__(self, slot: Slot, reader: Reader, label: str, let_go: Callable[[], None]) -> None:
        self._let_go = let_go
        self._slot = slot
        self._began = time.monotonic()
        self.label = label
        self.reader = reader
        STREAMS.labels(label).inc()

    def release(self) -> None:
        """Release all of it. Call it once."""
        STREAMS.labels(self.label).dec()
        STREAMS_ENDED.labels(self.label, _reason(self.reader)).inc()
        STREAM_TIME.labels(self.label).observe(time.monotonic() - self._began)
        self.reader.close()
        self._let_go()
        self._slot.give_back()


def _reason(reader: Reader) -> str:
    """Why a stream ends, for metrics. ``broken``: the client left, stalled, or could not be sent the rest."""
    if reader.feed.ended and reader.cursor >= reader.feed.last:
        return "complete"
    if reader.must_leave:
        return "revoked" if reader.is_expelled else "draining"
    return "broken"
