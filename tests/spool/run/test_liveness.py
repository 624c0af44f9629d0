"""The pulse of a program that serves HTTP: what counts as an answer, and when it counts as hung."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from spool.run.liveness import ASK_S, MISSES, Pulse


class Server:
    """A listening socket that answers only when it is told to, and a pulse of it under a clock of the test's own."""

    def __init__(self) -> None:
        self.now = 0.0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(5)
        self.pulse = Pulse("127.0.0.1", self.listener.getsockname()[1], clock=lambda: self.now)

    def ask(self) -> bool:
        """Let the time pass to the next question."""
        self.now = self.pulse.due_at
        return self.pulse.hangs()

    def answer(self) -> None:
        """Answer the last question."""
        connection, _ = self.listener.accept()
        with connection:
            assert connection.recv(100).startswith(b"GET /livez HTTP/1.1\r\n")
            connection.sendall(b"HTTP/1.1 503 No\r\n\r\n")

    def close(self) -> None:
        """Close both."""
        self.pulse.end()
        self.listener.close()


@pytest.fixture
def server() -> Iterator[Server]:
    """A server that was asked for the first time."""
    one = Server()
    one.pulse.begin()
    assert not one.ask()
    yield one
    one.close()


def test_program_that_answers(server: Server) -> None:
    """Any answer will do, again and again."""
    for _ in range(3 * MISSES):
        server.answer()
        assert not server.ask()


def test_program_that_stops_answering(server: Server) -> None:
    """Its kernel takes connections still; after some answers that are missed in a row it counts as hung."""
    server.answer()
    began = server.now
    asked = 1
    while not server.ask():
        asked += 1
    assert asked == MISSES + 1
    assert server.now - began == ASK_S * (MISSES + 1) < 20


def test_program_that_was_only_slow(server: Server) -> None:
    """One answer in between, and the count begins again."""
    for _ in range(MISSES - 1):
        assert not server.ask()
    for _ in range(MISSES):
        server.answer()
    assert not server.ask()
    for _ in range(MISSES - 1):
        assert not server.ask()


def test_program_that_refuses_connections(server: Server) -> None:
    """That is no answer."""
    server.listener.close()
    assert [server.ask() for _ in range(MISSES)] == [False] * (MISSES - 1) + [True]


def test_pause_of_the_one_that_asks(server: Server) -> None:
    """However long it was, it costs one answer."""
    server.now += 10_000
    assert not server.ask()
