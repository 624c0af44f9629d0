"""Frames that the server sends, read back by another implementation."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionType
from wsproto.events import CloseConnection, Event, Ping, Pong, TextMessage

from web.server.websocket_frames import PING, close_frame, pong, text_frame


def events(data: bytes) -> list[Event]:
    """What a client gets."""
    client = Connection(ConnectionType.CLIENT)
    client.receive_data(data)
    return list(client.events())


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, 200_000])
def test_text_frame_of_any_size(size: int) -> None:
    """A frame of any size is one whole message: the length's three forms are right."""
    found = events(text_frame(b"x" * size))
    assert all(isinstance(event, TextMessage) for event in found)
    assert "".join(event.data for event in found) == "x" * size  # type: ignore[attr-defined]
    assert [event.message_finished for event in found] == [*[False] * (len(found) - 1), True]  # type: ignore[attr-defined]


@given(st.binary(max_size=125))
def test_pong(payload: bytes) -> None:
    """A pong has the ping's payload."""
    assert events(pong(payload)) == [Pong(payload=payload)]


def test_ping() -> None:
    """A ping has no payload."""
    assert events(PING) == [Ping(payload=b"")]


@given(st.sampled_from([1000, 1001, 1011, 4404, 4999]), st.text(st.characters(exclude_categories=["Cs"]), max_size=200))
def test_close_frame(code: int, reason: str) -> None:
    """A close frame has the code, and of the reason as many whole characters as it can hold."""
    (found,) = events(close_frame(code, reason))
    assert isinstance(found, CloseConnection)
    assert found.code == code
    assert reason.startswith(found.reason or "")
    assert len((found.reason or "").encode()) > 119 or found.reason == reason


def test_close_frame_without_a_code() -> None:
    """1005 is never sent: the frame is empty."""
    assert events(close_frame(1005)) == [CloseConnection(code=1005, reason="")]
