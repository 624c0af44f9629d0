"""Events as clients read them: what happened to a job or a batch, with its document. And the two formats of their
streams."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Annotated, Any, Literal, NamedTuple

import orjson
from pydantic import Field
from typing_extensions import TypedDict

from spool.batches.batch import decode as decode_batch
from spool.errors import UndecodableRecord
from spool.jobs.job import FIELDS, Job
from web.delivery.formats.ndjson import Ndjson
from web.delivery.formats.sse import Sse
from web.native.batch_document import BatchDocument, batch_document
from web.native.job_document import JobDocument, job_document

_KEPT = 256
"""Events whose place and bytes are kept: a new one is asked for by each of its readers."""


class _Event(TypedDict):
    id: Annotated[int, Field(ge=1)]
    at: str


class JobEvent(_Event):
    """A change of a job, and the job after it, without its text. ``cancelling``: its cancel was requested while it
    runs. ``queued`` again: its attempt was lost or handed back. Metadata of more than 1 KiB is left out."""

    kind: Literal[
        "job.queued",
        "job.started",
        "job.succeeded",
        "job.failed",
        "job.cancelled",
        "job.cancelling",
        "job.deleted",
    ]
    job: JobDocument


class BatchEvent(_Event):
    """A change of a batch, and the batch after it. Its lines have no events: they are in its own log."""

    kind: Literal[
        "batch.created",
        "batch.paused",
        "batch.resumed",
        "batch.sealed",
        "batch.cancelling",
        "batch.completed",
        "batch.failed",
        "batch.cancelled",
        "batch.expired",
        "batch.deleted",
    ]
    batch: BatchDocument


class HistoryLost(_Event):
    """Redis has restarted and may have lost events: read the list again."""

    kind: Literal["restarted"]
    reason: Literal["redis_lost_history"]


EventDocument = Annotated[JobEvent | BatchEvent | HistoryLost, Field(discriminator="kind")]


def event_document(raw: bytes) -> dict[str, Any]:
    """The event as the API shows it. Of a damaged record it has the id alone: an event that broke its streams would
    break them again after each reconnect."""
    event = _loaded(raw)
    record, name = event.pop("record", None), "job" if "job" in event else "batch"
    if name in event:
        event[name] = _subject(name, event[name], record)
    return event


def _loaded(raw: bytes) -> dict[str, Any]:
    try:
        event: dict[str, Any] = orjson.loads(raw)
    except orjson.JSONDecodeError:
        # A damaged record may have bytes that are no text.
        event = orjson.loads(raw.decode(errors="replace"))
    return event


def _subject(name: str, subject_id: str, record: Any) -> Mapping[str, Any]:
    """The document of the job or the batch."""
    try:
        if name == "job":
            values = [value.encode() if (value := record.get(field)) is not None else None for field in FIELDS]
            document: Mapping[str, Any] = job_document(Job.decode(values), with_text=False)
        else:
            document = batch_document(decode_batch(subject_id, record))
        orjson.dumps(document)
    except (UndecodableRecord, ArithmeticError, AttributeError, KeyError, TypeError, ValueError):
        return {"id": subject_id}
    return document


@lru_cache(_KEPT)
def encoded(raw: bytes) -> bytes:
    """The stored event as clients get it."""
    return orjson.dumps(event_document(raw))


class _Place(NamedTuple):
    """Where an event belongs. ``is_common``: it concerns every reader."""

    is_common: bool
    is_batch: bool
    batch: Any
    conversation: Any


@lru_cache(_KEPT)
def _place_of(raw: bytes) -> _Place:
    """The place of a stored event. The document, which costs many times as much, is made only of what is sent."""
    event = _loaded(raw)
    is_batch, record = "batch" in event, event.get("record")
    its = record if isinstance(record, dict) and not is_batch else {}
    batch = event["batch"] if is_batch else its.get("batch") or None
    return _Place(not is_batch and "job" not in event, is_batch, batch, its.get("conversation") or None)


def selection(batch: str | None, conversation: str | None, *, with_batches: bool) -> Callable[[bytes], bool] | None:
    """Whether a stream gets an event: of this batch, of this conversation, and of batches at all. None if it gets
    all."""
    if batch is None and conversation is None and with_batches:
        return None

    def is_wanted(raw: bytes) -> bool:
        place = _place_of(raw)
        if place.is_common:
            return True
        if place.is_batch and not with_batches:
            return False
        return batch in (None, place.batch) and conversation in (None, place.conversation)

    return is_wanted


class EventsSse(Sse):
    """Events of an owner as server-sent events. Such a log has no end: where it does, the client comes back."""

    def entry(self, entry_id: int, raw: bytes) -> bytes:
        """One event with its document."""
        return super().entry(entry_id, encoded(raw))

    def end(self, last: int, *, is_gone: bool) -> bytes:  # noqa: ARG002 - the protocol's shape
        """The event after which clients reconnect."""
        return self.reconnect()


class EventsNdjson(Ndjson):
    """Events of an owner as lines of JSON."""

    def entry(self, entry_id: int, raw: bytes) -> bytes:
        """One event with its document."""
        return super().entry(entry_id, encoded(raw))

    def end(self, last: int, *, is_gone: bool) -> bytes:  # noqa: ARG002 - the protocol's shape
        """The line after which clients reconnect."""
        return self.reconnect()


Format = EventsSse | EventsNdjson
FORMATS: dict[tuple[str, bool], Format] = {
    (Sse.media_type, False): EventsSse(),
    (Sse.media_type, True): EventsSse(has_visible_heartbeats=True),
    (Ndjson.media_type, False): EventsNdjson(announced=True),
    (Ndjson.media_type, True): EventsNdjson(heartbeat="heartbeat", announced=True),
}
"""One object for each media type and form of heartbeats, so that events are encoded once for all streams."""
