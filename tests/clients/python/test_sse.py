"""Server-sent events from bytes."""

from __future__ import annotations

import pytest

from spool_client.sse import Event, SseParser

STREAM = (
    'retry: 1200\n: 7\n\nid: 1\nevent: token\ndata: {"a": "é"}\r\n\r\ndata: one\ndata:two\n\nevent: lost\n\n'
).encode()


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_events_from_pieces_of_any_size(size: int) -> None:
    """Pieces may end anywhere, also within a character; comments and events without data are none."""
    parser = SseParser()
    pieces = [STREAM[at : at + size] for at in range(0, len(STREAM), size)]
    events = [event for piece in pieces for event in parser.feed(piece)]
    assert events == [Event("token", '{"a": "é"}'), Event("message", "one\ntwo")]
    assert parser.retry_s == 1.2
