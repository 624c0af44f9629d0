"""A hijacked connection: what it sends without waiting, what it does with a client that stalls, and how it ends."""

from __future__ import annotations

import _socket
import socket
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest

from web.limits.unsent import Unsent
from web.server.hijacked import HijackedConnection

LARGE = b"x" * 2_000_000
"""More than the buffers of a pair of sockets hold."""


class Ends:
    """A connection, its client's end, and what was given back."""

    def __init__(self, *, chunked: bool, keeps: bool, stall_s: float) -> None:
        ours, self.client = socket.socketpair()
        self.client.settimeout(60)
        self.given_back: list[_socket.socket] = []
        self.unsent = Unsent(10_000_000)
        self.plain = _socket.socket(ours.family, ours.type, ours.proto, ours.detach())
        self.plain.setblocking(False)
        give_back = self.given_back.append if keeps else None
        self.connection = HijackedConnection(
            self.plain, chunked=chunked, give_back=give_back, stall_s=stall_s, unsent=self.unsent
        )

    def read_all(self) -> bytes:
        """Everything up to the end of the connection."""
        self.client.setblocking(False)
        received = bytearray()
        with gevent.Timeout(60):
            while True:
                gevent.sleep(0)
                try:
                    piece = self.client.recv(1_000_000)
                except BlockingIOError:
                    continue
                if not piece:
                    return bytes(received)
                received += piece


def until(condition: Callable[[], Any]) -> None:
    """Let other greenlets run until it is so."""
    with gevent.Timeout(60):
        while not condition():
            gevent.sleep(0)


@pytest.fixture
def connect() -> Iterator[Callable[..., Ends]]:
    """Makes connections, which are closed afterwards."""
    made: list[Ends] = []

    def make(*, chunked: bool = True, keeps: bool = False, stall_s: float = 60.0) -> Ends:
        made.append(Ends(chunked=chunked, keeps=keeps, stall_s=stall_s))
        return made[-1]

    yield make
    for ends in made:
        ends.client.close()
        ends.plain.close()


Connect = Callable[..., Ends]


def test_send_now_returns_the_rest(connect: Connect) -> None:
    """``send_now`` never waits: it returns what the socket did not accept, and None if it accepted everything."""
    ends = connect()
    assert ends.connection.send_now(b"hello") is None
    left = ends.connection.send_now(LARGE)
    assert left is not None
    assert 0 < len(left) < len(LARGE)
    again = ends.connection.send_now(left)
    assert again is not None
    assert len(again) == len(left)


def test_send_waits_for_a_client_that_reads(connect: Connect) -> None:
    """``send`` returns once everything was accepted, and counts the unsent bytes while it waits."""
    ends = connect()
    sender = gevent.spawn(ends.connection.send, LARGE)
    until(lambda: ends.unsent.total == len(LARGE))
    sender.link(lambda _sender: ends.connection.close())
    assert ends.read_all() == LARGE
    sender.get(timeout=60)
    assert ends.unsent.total == 0


def test_client_that_stalls_is_reset(connect: Connect) -> None:
    """A client that reads nothing for the stall limit loses its connection, and its bytes count no more."""
    ends = connect(stall_s=0.01)
    with pytest.raises(TimeoutError):
        ends.connection.send(LARGE)
    assert ends.unsent.total == 0
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        ends.connection.send(b"more")


def test_nothing_to_send(connect: Connect) -> None:
    """No bytes need no socket: it may be closed."""
    ends = connect()
    ends.plain.close()
    ends.connection.send(b"")


def test_connection_is_given_back_after_its_body(connect: Connect) -> None:
    """A chunked body ends with the last chunk, and the connection is free for another request."""
    ends = connect(keeps=True)
    ends.connection.watch(lambda: None)
    ends.connection.finish(b"5\r\nhello\r\n")
    assert ends.client.recv(100) == b"5\r\nhello\r\n0\r\n\r\n"
    assert ends.given_back == [ends.plain]


@pytest.mark.parametrize(("chunked", "end"), [(True, b"0\r\n\r\n"), (False, b"")], ids=["chunked", "bare"])
def test_connection_ends_with_its_body(connect: Connect, chunked: bool, end: bytes) -> None:
    """Without a use for the connection it is closed after the body; a bare body has no other end, so it always is."""
    ends = connect(chunked=chunked, keeps=not chunked)
    ends.connection.finish(b"last")
    assert ends.read_all() == b"last" + end
    assert ends.given_back == []


def test_large_last_piece_is_not_copied(connect: Connect) -> None:
    """A last piece of many bytes, which other connections may share, comes whole and before the last chunk."""
    ends = connect()
    sender = gevent.spawn(ends.connection.finish, LARGE)
    assert ends.read_all() == LARGE + b"0\r\n\r\n"
    sender.get(timeout=60)


def test_close_within_a_body(connect: Connect) -> None:
    """A closed connection sends no last chunk: the client sees that the body is incomplete."""
    ends = connect(keeps=True)
    ends.connection.send(b"5\r\nhello\r\n")
    ends.connection.close()
    assert ends.read_all() == b"5\r\nhello\r\n"
    assert ends.given_back == []


def test_receive(connect: Connect) -> None:
    """Received bytes; None while there are none; and no bytes once the client has disconnected or was reset."""
    ends = connect()
    assert ends.connection.receive(10) is None
    ends.client.sendall(b"hello")
    assert (ends.connection.receive(3), ends.connection.receive(10)) == (b"hel", b"lo")
    ends.client.close()
    assert ends.connection.receive(10) == b""
    ends.plain.close()
    assert ends.connection.receive(10) == b""


def test_client_that_disconnects_is_noticed(connect: Connect) -> None:
    """The callback is called once when the client disconnects, and not any more after the end."""
    ends, gone = connect(), list[Any]()
    ends.connection.watch(lambda: gone.append(1))
    ends.client.close()
    until(lambda: gone)
    gevent.sleep(0)
    assert gone == [1]
    ends.connection.close()
