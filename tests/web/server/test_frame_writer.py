"""Senders' turns on a connection: frames never interleave, and nothing follows a frame that was cut."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import gevent
import pytest

from web.server.frame_writer import FrameWriter


class Connection:
    """A client's socket that accepts ``room`` bytes at once, and everything once ``opens`` was called."""

    def __init__(self, room: int = 1_000_000) -> None:
        self.room = room
        self.sent = b""
        self.is_broken = False
        self._open = gevent.event.Event()

    def send_now(self, data: bytes | memoryview) -> memoryview | None:
        if self.is_broken:
            raise BrokenPipeError
        accepted = bytes(data)[: self.room]
        self.sent += accepted
        self.room -= len(accepted)
        return memoryview(data)[len(accepted) :] if len(accepted) < len(data) else None

    def send(self, data: bytes | memoryview) -> None:
        if (left := self.send_now(data)) is not None:
            self._open.wait()
            self.room = 1_000_000
            if self.is_broken:
                raise BrokenPipeError
            self.sent += bytes(left)

    def opens(self) -> None:
        self._open.set()


class Writing:
    """A writer on such a connection; ``freed`` counts the turns that have ended."""

    def __init__(self, room: int = 1_000_000) -> None:
        self.connection = Connection(room)
        self.freed = 0
        self.writer = FrameWriter(self.connection, self._on_free)  # type: ignore[arg-type]

    def _on_free(self) -> None:
        self.freed += 1


def test_reply_to_a_free_connection() -> None:
    """A reply is sent at once where nothing else is sent."""
    one = Writing()
    one.writer.reply(b"pong")
    assert (one.connection.sent, one.writer.pending, one.writer.is_taken, one.freed) == (b"pong", 0, False, 1)


def test_reply_during_a_turn_waits_for_its_end() -> None:
    """A reply during a sender's turn is sent after it, in the order of the replies."""
    one = Writing()
    with one.writer.turn():
        one.writer.send(b"[page ")
        one.writer.reply(b"(1)")
        one.writer.reply(b"(2)")
        assert one.writer.pending == 6
        one.writer.send(b"end]")
    assert (one.connection.sent, one.writer.pending, one.writer.is_taken) == (b"[page end](1)(2)", 0, False)


def test_turns_follow_each_other() -> None:
    """A second sender waits for the first, so that its frame is not within the other's."""
    one = Writing(room=3)

    def page(data: bytes) -> None:
        with one.writer.turn():
            one.writer.send(data)

    senders = [gevent.spawn(page, b"[first]"), gevent.spawn(page, b"[second]")]
    gevent.idle()
    assert one.connection.sent == b"[fi"
    one.connection.opens()
    gevent.joinall(senders, timeout=60, raise_error=True)
    assert (one.connection.sent, one.freed) == (b"[first][second]", 2)


def test_rest_of_a_send_without_waiting() -> None:
    """What the socket does not accept is sent in the background, in a turn; replies follow it."""
    one = Writing(room=3)
    one.writer.send_now(b"[frame]")
    assert (one.connection.sent, one.writer.is_taken) == (b"[fr", True)
    one.writer.reply(b"(pong)")
    one.connection.opens()
    gevent.idle()
    assert (one.connection.sent, one.writer.is_taken) == (b"[frame](pong)", False)


def test_rest_of_a_reply() -> None:
    """A reply of which the socket accepts a part keeps the turn until the rest is sent."""
    one = Writing(room=3)
    one.writer.reply(b"(pong)")
    assert (one.connection.sent, one.writer.is_taken, one.freed) == (b"(po", True, 0)
    one.connection.opens()
    gevent.idle()
    assert (one.connection.sent, one.writer.is_taken, one.freed) == (b"(pong)", False, 1)


@pytest.mark.parametrize("background", [True, False], ids=["in the background", "in a turn"])
def test_nothing_follows_a_frame_that_was_cut(background: bool) -> None:
    """A client that disconnects within a frame gets no other: later senders fail, and replies are dropped."""
    one = Writing(room=3)
    if background:
        one.writer.send_now(b"[frame]")
        one.connection.is_broken = True
        one.connection.opens()
        gevent.idle()
    else:
        one.connection.is_broken = True
        with one.writer.turn(), pytest.raises(BrokenPipeError):
            one.writer.send(b"[frame]")
    assert (one.writer.is_broken, one.writer.is_taken) == (True, False)
    one.connection.is_broken = False
    sent: Any = one.connection.sent
    with nullcontext() if background else one.writer.turn(), pytest.raises(BrokenPipeError, match="cut"):
        one.writer.send(b"more")
    one.writer.reply(b"(pong)")
    assert one.connection.sent == sent
