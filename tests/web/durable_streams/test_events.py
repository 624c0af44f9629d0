"""Entries in, Durable Streams' events out."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from spool.jobs.entries import Kind
from tests.web.ai_sdk.test_ui_stream import token
from tests.web.logs import Followed, Logs, job_of
from web.delivery.encoding import Trouble, bare
from web.durable_streams.events import DurableEvents, DurablePages
from web.durable_streams.offsets import offset_of
from web.folds import Folds


def parsed(data: bytes) -> list[tuple[str, Any]]:
    """Names and documents of the events."""
    events = [block.split(b"\n") for block in data.split(b"\n\n")[:-1] if not block.startswith(b":")]
    return [(name[7:].decode(), orjson.loads(document[6:])) for name, document in events]


def test_entries() -> None:
    """A page is one array of the log's own bytes, and the offset after it."""
    logs = Logs([token("a\n\n"), token("b")])
    stream = DurableEvents(0, 3, "7")
    data = stream.entries(logs.rows)
    assert b"data: [" + b",".join(logs.entries) + b"]\n" in data
    assert parsed(data)[1] == ("control", {"streamNextOffset": offset_of(2), "streamCursor": "7"})
    assert not stream.over


@pytest.mark.parametrize(
    "end",
    [
        (Kind.DONE, {"finish_reason": "stop"}),
        (Kind.FAILED, {"error": {"code": "c", "message": "m", "retryable": False}}),
        (Kind.CANCELLED, {}),
    ],
)
def test_terminal_entry_closes(end: tuple[Kind, dict[str, Any]]) -> None:
    """With the last entry, the client knows that none follows, and needs no cursor."""
    stream = DurableEvents(0, 2, "7")
    control = parsed(stream.entries(Logs([token("a"), end]).rows))[-1][1]
    assert control == {"streamNextOffset": offset_of(2), "upToDate": True, "streamClosed": True}
    assert stream.over


def test_end_of_the_log_is_said_at_once() -> None:
    """A client that has all of the log is told so, at the beginning and with the last entries."""
    up_to_date = ("control", {"streamNextOffset": offset_of(4), "streamCursor": "7", "upToDate": True})
    assert parsed(DurableEvents(4, 4, "7").opening()) == [up_to_date]
    assert DurableEvents(3, 4, "7").opening() == b""
    stream = DurableEvents(3, 4, "7")
    assert parsed(stream.entries([(4, Logs([token("a")]).entries[0])]))[1] == up_to_date


def test_end_moves() -> None:
    """The end is that of the log when a page is made, not when the stream began."""
    logs = Logs([token("a"), token("b")])
    reader = Followed(logs, live=2).attach(job_of(logs), 0)
    reader.feed.ready = True
    pages = DurablePages(DurableEvents(0, 1, "7"), bare, Folds(None, clock=lambda: 0.0))  # type: ignore[arg-type]
    data = pages.live(reader)
    assert data is not None
    assert parsed(data)[-1][1]["upToDate"] is True
    assert reader.cursor == 2


def test_broken_off() -> None:
    """A stream that this web cannot continue ends in good order; one with missing entries does not."""
    stream = DurableEvents(0, 1, "7")
    assert stream.broken_off(Trouble.DRAINING.code, "") == b""
    assert stream.broken_off(Trouble.ENTRIES_MISSING.code, "") is None


def test_silence_and_waits_are_comments() -> None:
    """Neither has a place in the log."""
    stream = DurableEvents(0, 1, "7")
    assert parsed(stream.heartbeat()) == []
    assert stream.heartbeat().startswith(b":")
