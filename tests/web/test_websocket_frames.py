"""WebSocket frames: bytes in, RFC 6455 out, read back by another implementation."""

from __future__ import annotations

import pytest
from wsproto.connection import Connection, ConnectionType
from wsproto.events import TextMessage

from spool.jobs.entries import Entry, Kind
from spool.jobs.log import Gap
from tests.by_hand import AT, tokens
from web.delivery.websocket import Signal, WholeFrames
from web.delivery.websocket_messages import Closed
from web.native.websocket import TextSender


def read(data: bytes) -> list[str]:
    """The text messages in these bytes, as a client gets them."""
    client = Connection(ConnectionType.CLIENT)
    client.receive_data(data)
    messages, parts = [], ""
    for event in client.events():
        assert isinstance(event, TextMessage), event
        parts += event.data
        if event.message_finished:
            messages.append(parts)
            parts = ""
    return messages


class Sent:
    """A socket that keeps what is sent, and a reader that has gathered these rows."""

    def __init__(self, *entries: bytes, gap: Gap | None = None) -> None:
        self.sock = self
        self.data = b""
        self._rows = list(enumerate(entries, 1))
        self._gap = gap

    def send(self, data: bytes) -> None:
        self.data += data

    def take_rows(self, _limit: int) -> tuple[list[tuple[int, bytes]], Gap | None, bool]:
        return self._rows, self._gap, False


def test_text_when_the_answer_is_begun_anew() -> None:
    """Text that was sent cannot be unsaid: the socket closes, and says that it is not whole."""
    restarted = Entry(2, Kind.RESTARTED, AT, {"attempt": 2, "reason": "worker_lost"}).encode()
    silent = Sent(restarted, *tokens(2, "Right"))
    assert TextSender(silent, silent, has_text=False).send() is False
    assert read(silent.data) == ["Right"]
    said = Sent(*tokens(1, "Wrong"), restarted)
    with pytest.raises(Closed) as closed:
        TextSender(said, said, has_text=False).send()
    assert closed.value.code == 1011


def test_text_with_a_gap() -> None:
    """Missing entries close a text socket: text has no word for them."""
    torn = Sent(gap=Gap(3, 5, 9, 4))
    with pytest.raises(Closed) as closed:
        TextSender(torn, torn, has_text=False).send()
    assert closed.value.code == 1011


def test_socket_sends_everything() -> None:
    """A socket that takes little at a time gets everything, and the sender is told so."""

    class Slow:
        def __init__(self) -> None:
            self.taken = b""

        def sendall(self, data: bytes) -> None:
            self.taken += data

    slow = Slow()
    assert WholeFrames(slow).send(b"x" * 100) == 100
    assert slow.taken == b"x" * 100


def test_signal_wakes() -> None:
    """A message that comes sets the event and wakes whoever waits for entries."""
    woken: list[bool] = []
    signal = Signal()
    signal.set()
    signal.on_set = lambda: woken.append(signal.is_set())
    signal.set()
    assert woken == [True]
