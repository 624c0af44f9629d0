"""The forms of a log's stream, as the contracts of the calls that answer with one declare them."""

from __future__ import annotations

from pydantic import Field

from web.contract import Content
from web.delivery.formats import ndjson, sse, text
from web.examples import ENTRIES, ROWS
from web.native.beginning import SnapshotDocument, StreamBeginning
from web.native.entry_document import (
    Attached,
    EntryDocument,
    GapMessage,
    Gone,
    Heartbeat,
    Notice,
    Ping,
    Queued,
    Reconnect,
    Unavailable,
)


class StreamQuery(StreamBeginning):
    """The query of a stream."""

    ping: str | None = Field(None, description="`1`: heartbeats of NDJSON are lines of the type `ping`.")

    @property
    def visible_heartbeat(self) -> str:
        """The form of heartbeats that clients can see; empty for none."""
        if self.heartbeat == "event":
            return "event"
        return "ping" if self.ping == "1" else ""


LOG_STREAMS = (
    Content(
        sse.MEDIA_TYPE,
        item=EntryDocument
        | Attached
        | GapMessage
        | Heartbeat
        | Notice
        | Queued
        | Reconnect
        | SnapshotDocument
        | Unavailable,
        example=lambda: b"".join(sse.SSE.entry(entry_id, raw) for entry_id, raw in ROWS),
    ),
    Content(
        ndjson.MEDIA_TYPE,
        item=EntryDocument
        | Attached
        | GapMessage
        | Gone
        | Heartbeat
        | Ping
        | Notice
        | Queued
        | Reconnect
        | SnapshotDocument
        | Unavailable,
        example=lambda: b"".join(ndjson.Ndjson().entry(entry_id, raw) for entry_id, raw in ROWS),
    ),
    Content(text.MEDIA_TYPE, example=lambda: "".join(entry.fields.get("text", "") for entry in ENTRIES)),
)
"""By ``Accept``: server-sent events, lines of JSON, or the bare text."""
