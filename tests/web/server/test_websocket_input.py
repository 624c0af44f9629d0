"""A WebSocket client's input, without a socket: what is kept of it, and what is answered."""

from __future__ import annotations

import pytest

from tests.faults.wire import CLOSE, PING, PONG, TEXT, client_frame
from web.server.websocket_frames import close_frame, pong
from web.server.websocket_input import Assembly, Closed, Inbox, Input


def given(*frames: bytes, most: int = 1000) -> Input:
    """Input that has received and parsed these frames."""
    found = Input(most)
    found.feed(b"".join(frames))
    found.parse()
    return found


def test_assembly_of_a_message() -> None:
    """Pieces are put together; the time of the first one counts until the message is whole."""
    now = 7.0
    assembly = Assembly(10, clock=lambda: now)
    assert assembly.add(b"whole", finished=True) == b"whole"
    assert assembly.began_at is None
    assert assembly.add(b"", finished=False) is None
    assert assembly.add(b"ab", finished=False) is None
    assert (assembly.began_at, len(assembly)) == (7.0, 2)
    assert assembly.add(b"c", finished=True) == b"abc"
    assert (assembly.began_at, len(assembly)) == (None, 0)
    assembly.add(b"x" * 10, finished=False)
    with pytest.raises(Closed) as closed:
        assembly.add(b"x", finished=True)
    assert closed.value.code == 1009


@pytest.mark.parametrize("messages", [[b"x"] * 32, [b"x" * 65_536]], ids=["many", "large"])
def test_inbox_is_full(messages: list[bytes]) -> None:
    """Many small messages fill an inbox, and few large ones; taking one makes room."""
    inbox = Inbox()
    for message in messages:
        assert not inbox.is_full
        inbox.put(message)
    assert inbox.is_full
    assert inbox.take() == messages[0]
    assert not inbox.is_full


def test_messages_and_replies() -> None:
    """Text is queued, a ping is answered, a pong is noted."""
    found = Input(1000)
    found.has_pong = False
    found.feed(client_frame(TEXT, b"one") + client_frame(PING, b"p") + client_frame(PONG, b""))
    found.parse()
    assert (found.inbox.take(), found.size) == (b"one", 0)
    assert (found.take_replies(), found.take_replies()) == (pong(b"p"), b"")
    assert found.has_pong


def test_few_frames_are_parsed_at_a_time() -> None:
    """The rest of many frames waits, so that other sockets have their time."""
    found = given(*[client_frame(PING, b"")] * 40)
    assert found.has_more
    assert found.take_replies() == pong(b"") * 32
    found.parse()
    assert not found.has_more
    assert found.take_replies() == pong(b"") * 8


def test_nothing_is_parsed_into_a_full_inbox() -> None:
    """Frames behind a full inbox wait until there is room."""
    found = given(
        client_frame(TEXT, b"x" * 65_000), client_frame(TEXT, b"y" * 1000), client_frame(PING, b""), most=70_000
    )
    assert found.inbox.is_full
    assert found.has_more
    assert found.take_replies() == b""
    found.inbox.take()
    found.parse()
    assert found.take_replies() == pong(b"")


def test_clients_close() -> None:
    """A close frame is answered with its own code and reason, after the messages before it."""
    found = given(client_frame(TEXT, b"x"), client_frame(CLOSE, (1001).to_bytes(2) + b"bye"), client_frame(TEXT, b"y"))
    assert found.reply_to_close == close_frame(1001, "bye")
    assert len(found.inbox) == 1
    assert given(client_frame(CLOSE, b"")).reply_to_close == close_frame(1005)


@pytest.mark.parametrize(
    ("frame", "code"),
    [(client_frame(2, b"x"), 1003), (client_frame(TEXT, b"x" * 1001), 1009)],
    # A frame's mask is random, so it names no test.
    ids=["binary", "too large"],
)
def test_wrong_input(frame: bytes, code: int) -> None:
    """Binary frames and messages that are too large name the code to close with."""
    with pytest.raises(Closed) as closed:
        given(frame)
    assert closed.value.code == code


def test_nothing_is_kept() -> None:
    """Whole messages and parts count until they are cleared."""
    part = client_frame(TEXT, b"half")
    found = given(client_frame(TEXT, b"whole"), bytes((part[0] & 0x7F,)) + part[1:])
    assert found.size == 9
    assert found.began_at is not None
    found.clear()
    assert (found.size, found.began_at) == (0, None)
