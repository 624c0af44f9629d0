"""The presence of a client at the other end of a connection."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import gevent
import pytest

from web.server.peer import PeerWatch, cut, presence

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Both ends of a connection."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_client_that_leaves_is_reported_once(pair: Pair) -> None:
    """A close shows at once, and is reported once."""
    calls: list[int] = []
    watch = PeerWatch(pair[0], lambda: calls.append(1))
    gevent.sleep(0)
    assert not watch.is_gone
    pair[1].close()
    gevent.sleep(0.01)
    gevent.sleep(0.01)
    assert (watch.is_gone, calls) == (True, [1])
    watch.close()


def test_pipelined_request_is_no_disconnect(pair: Pair) -> None:
    """Bytes of the client stay unread, and do not count as a disconnect."""
    calls: list[int] = []
    watch = PeerWatch(pair[0], lambda: calls.append(1))
    pair[1].send(b"GET")
    gevent.sleep(0.01)
    assert (watch.is_gone, calls) == (False, [])
    assert pair[0].recv(10) == b"GET"
    watch.close()


def test_without_a_socket_nothing_is_watched() -> None:
    """Under a server that does not give its socket, a client counts as present."""
    watch = PeerWatch(None, lambda: None)
    assert not watch.is_gone
    watch.close()
    assert presence({})()
    cut({})


def test_presence(pair: Pair) -> None:
    """Asking reads nothing, and notices a close."""
    is_present = presence({"gunicorn.socket": pair[0]})
    pair[1].send(b"GET")
    assert is_present()
    assert pair[0].recv(10) == b"GET"
    pair[1].close()
    assert not is_present()


def test_cut(pair: Pair) -> None:
    """The client sees the end of the connection."""
    cut({"gunicorn.socket": pair[0]})
    assert pair[1].recv(1) == b""
