"""The head of a request as it is received: as a whole, or as soon as the parser would refuse it."""

from __future__ import annotations

from collections.abc import Iterator

import gevent
import gevent.socket
import pytest

from spool.deadline import Deadline
from web.limits.uploads import OWN_BYTES, Uploads
from web.problems import Problem
from web.server.fair_turns import Turns
from web.server.head import Head
from web.server.source import HEAD_BYTES, Source, TooSlow

HEAD = b"GET /livez HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n"


class Client:
    """A client's end, and the source at the server's."""

    def __init__(self, sent: bytes) -> None:
        self.ours, self.sock = gevent.socket.socketpair()
        self.uploads = Uploads(1_000_000)
        self.source = Source(self.ours, Turns())
        self.source.begin(Deadline.after(5), HEAD_BYTES)
        if sent:
            self.source.unread(sent)

    def receive(self) -> bytes:
        """What the parser gets."""
        Head(self.source, self.uploads).receive()
        return self.source.take_buffered()

    def close(self) -> None:
        """Close both ends."""
        self.ours.close()
        self.sock.close()


@pytest.fixture
def clients() -> Iterator[list[Client]]:
    """Those that are to be closed."""
    found: list[Client] = []
    yield found
    for one in found:
        one.close()


def test_head_in_two_pieces(clients: list[Client]) -> None:
    """The parser gets the whole head, wherever the network cuts it."""
    for cut in range(1, len(HEAD)):
        client = Client(HEAD[:cut])
        clients.append(client)
        client.sock.sendall(HEAD[cut:] + b"GET /next")
        received = client.receive()
        assert received.startswith(HEAD)
        assert (HEAD + b"GET /next").startswith(received)


@pytest.mark.parametrize(
    "sent",
    [
        HEAD,
        b"\r\n" + HEAD,
        b"hello\r\n",
        b"\x16\x03\x01" * 4096,
        b"GET /livez HTTP/1.1\n",
        b"GET /livez HTTP/1.1\r\nHost: a\n",
        b"GET /livez HTTP/1.1\r\nX: " + b"x" * HEAD_BYTES,
    ],
    ids=range(7),
)
def test_head_that_needs_no_more(clients: list[Client], sent: bytes) -> None:
    """What is whole, no HTTP, or too large goes to the parser without a wait for more."""
    client = Client(sent)
    clients.append(client)
    assert client.receive() == sent
    assert client.uploads.counted == 0


def test_head_that_does_not_come_in_time(clients: list[Client]) -> None:
    """The parser gets what has come, and then that it was too slow."""
    client = Client(HEAD[:30])
    clients.append(client)
    client.source.begin(Deadline.after(0.01), HEAD_BYTES)
    assert client.receive() == HEAD[:30]
    with pytest.raises(TooSlow):
        client.source.chunk()


def test_head_that_is_given_up(clients: list[Client]) -> None:
    """It counts while it arrives, and a given-up one is a 503 for the parser."""
    client = Client(HEAD[:-2] + b"X: " + b"x" * OWN_BYTES)
    clients.append(client)
    client.uploads.limit = 0
    client.receive()
    with pytest.raises(Problem) as caught:
        client.source.chunk()
    assert caught.value.status == 503
    assert client.uploads.counted == 0
