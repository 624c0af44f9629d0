"""What waits for clients to take it: bounded, and at the cost of the client that takes nothing for the longest."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress

import gevent
import pytest

from web.limits.unsent import Unsent, Waiting
from web.server.client_socket import ClientSocket


class Held:
    """Answers that wait, by name, and which of them were reset."""

    def __init__(self, limit: int) -> None:
        self.unsent = Unsent(limit, clock=lambda: 0.0)
        self.reset: list[str] = []

    def wait(self, name: str, count: int) -> Waiting:
        """One more waits."""
        return self.unsent.begin(count, lambda: self.reset.append(name))


def test_within_the_limit() -> None:
    """What fits is kept until it is sent."""
    held = Held(100)
    first, second = held.wait("first", 60), held.wait("second", 40)
    assert (held.unsent.total, held.reset) == (100, [])
    held.unsent.end(first)
    held.wait("third", 60)
    held.unsent.end(second)
    assert (held.unsent.total, held.reset) == (60, [])


def test_beyond_the_limit() -> None:
    """The answer without progress for the longest is reset, and what its sender says afterwards changes nothing."""
    held = Held(100)
    first, _second = held.wait("first", 40), held.wait("second", 40)
    held.unsent.proceed(first)
    held.wait("third", 40)
    assert (held.unsent.total, held.reset) == (80, ["second"])
    held.wait("fourth", 100)
    assert (held.unsent.total, held.reset) == (100, ["second", "first", "third"])
    held.unsent.proceed(first)
    held.unsent.end(first)
    assert held.unsent.total == 100


def test_larger_than_the_limit() -> None:
    """One answer alone may be larger: it would never be sent otherwise."""
    held = Held(100)
    held.wait("first", 500)
    assert held.reset == []
    held.wait("second", 1)
    assert (held.unsent.total, held.reset) == (1, ["first"])


@pytest.fixture
def pair() -> tuple[ClientSocket, socket.socket, Unsent]:
    """A server's socket of little room, its client, and what counts."""
    ours, theirs = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    unsent = Unsent(1_000_000)
    client = ClientSocket.of(ours, unsent)
    client.on_stall = client.on_proceed = lambda: None
    client.settimeout(5)
    return client, theirs, unsent


def sending(run: Callable[[], None]) -> gevent.Greenlet[[], None]:
    """A sender that has begun to wait."""
    greenlet = gevent.spawn(run)
    gevent.sleep(0)
    return greenlet


def test_socket_counts_what_waits(pair: tuple[ClientSocket, socket.socket, Unsent]) -> None:
    """An answer counts from when its client does not take all of it until it has."""
    ours, theirs, unsent = pair
    with ours, theirs:
        ours.sendall(b"x")
        assert unsent.total == 0
        sender = sending(lambda: ours.sendall(b"y" * 500_000))
        assert unsent.total == 500_000
        received = bytearray()
        theirs.setblocking(False)
        while len(received) < 500_001:
            gevent.sleep(0)
            with suppress(BlockingIOError):
                received += theirs.recv(65_536)
        sender.get(timeout=60)
        assert (bytes(received), unsent.total) == (b"x" + b"y" * 500_000, 0)


def test_socket_that_is_reset(pair: tuple[ClientSocket, socket.socket, Unsent]) -> None:
    """A sender whose connection is reset for others fails at once, and nothing of its answer counts."""
    ours, theirs, unsent = pair
    with ours, theirs:
        sender = sending(lambda: ours.sendall(b"y" * 500_000))
        unsent.begin(600_000, lambda: None)
        with pytest.raises(OSError, match="closed"):
            sender.get(timeout=60)
        assert unsent.total == 600_000
