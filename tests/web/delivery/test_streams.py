"""The client's end of a stream: what is sent past the server has the framing that the server would give it."""

from __future__ import annotations

import socket
import threading

import pytest

from web.delivery.peer import Peer


class Claimer:
    """A socket that takes so many bytes at a time, as one whose buffer is nearly full."""

    def __init__(self, at_once: int) -> None:
        self.taken = b""
        self._at_once = at_once

    def send(self, data: bytes) -> int:
        """Some of it."""
        self.taken += data[: self._at_once]
        return min(len(data), self._at_once)

    def sendall(self, data: memoryview) -> None:
        """All of it."""
        self.taken += bytes(data)


def peer_of(sock: object, protocol: str = "HTTP/1.1") -> Peer:
    """The peer of a request that came over this socket."""
    return Peer({"gunicorn.socket": sock, "SERVER_PROTOCOL": protocol})


@pytest.mark.parametrize("at_once", [1, 3, 4, 10, 10_000])
def test_pieces_are_chunks_and_whole(at_once: int) -> None:
    """Each piece is one chunk (RFC 9112 section 7.1), however little the socket takes at a time."""
    sock = Claimer(at_once)
    assert peer_of(sock).send(b"x" * 26) == b""
    assert peer_of(sock).send(b"yz") == b""
    assert sock.taken == b"1A\r\n" + b"x" * 26 + b"\r\n2\r\nyz\r\n"


def test_old_clients_get_bare_bytes() -> None:
    """HTTP/1.0 knows no chunks."""
    sock = Claimer(2)
    assert peer_of(sock, "HTTP/1.0").send(b"abc") == b""
    assert sock.taken == b"abc"


def test_nothing_is_not_sent() -> None:
    """An empty chunk would end the body."""
    sock = Claimer(2)
    assert peer_of(sock).send(b"") == b""
    assert sock.taken == b""


def test_without_a_socket_all_is_yielded() -> None:
    """Under a server that gives its socket to nobody, the piece goes the way of WSGI."""
    assert Peer({}).send(b"abc") == b"abc"


def test_real_socket() -> None:
    """More than the kernel takes at once arrives whole."""
    ours, theirs = socket.socketpair()
    received = bytearray()
    reading = threading.Thread(target=lambda: [received.extend(data) for data in iter(lambda: theirs.recv(4096), b"")])
    reading.start()
    with ours, theirs:
        piece = bytes(range(256)) * 4096
        assert peer_of(ours).send(piece) == b""
        ours.shutdown(socket.SHUT_WR)
        reading.join(60)
    assert bytes(received) == b"100000\r\n" + piece + b"\r\n"
