"""The hand-over of a connection from gunicorn: nothing is held for a stream that cannot begin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from web.server.hijack import Hijack, StreamResponse
from web.server.hijacked import HijackedConnection


class Stream:
    """A stream that was not begun."""

    opening = b"opening"

    def __init__(self, released: list[int]) -> None:
        self._released = released

    def begin(self, connection: HijackedConnection) -> None:
        """Never called here: ``Given`` keeps the connection."""
        raise AssertionError(connection)

    def abandon(self) -> None:
        """Release everything."""
        self._released.append(1)


class Given:
    """A worker that keeps what it is told to begin."""

    def __init__(self) -> None:
        self.begun: list[tuple[Any, Stream, bool]] = []

    def give(self, sock: Any, stream: Stream, *, chunked: bool) -> None:
        """Keep it."""
        self.begun.append((sock, stream, chunked))


def test_hand_over() -> None:
    """The headers and the opening go the way of WSGI, and then the connection changes hands."""
    released: list[int] = []
    response, given, written = StreamResponse(Stream(released), "text/x", {"A": "b"}), Given(), []

    def start_response(status: str, headers: list[tuple[str, str]]) -> Callable[[bytes], object]:
        written.append((status, dict(headers)))
        return written.append

    environ = {"gunicorn.socket": "its socket", "SERVER_PROTOCOL": "HTTP/1.1"}
    Hijack(response, given)(environ, start_response)
    assert written == [("200 OK", {"Content-Type": "text/x; charset=utf-8", "A": "b"}), b"opening"]
    assert [(sock, chunked) for sock, _, chunked in given.begun] == [("its socket", True)]
    assert released == []


def test_client_that_left_before_the_headers() -> None:
    """Nothing is held for a stream whose headers cannot be sent."""
    released: list[int] = []

    def start_response(*_args: object) -> Callable[[bytes], object]:
        def write(_data: bytes) -> None:
            raise BrokenPipeError

        return write

    given = Given()
    with pytest.raises(BrokenPipeError):
        Hijack(StreamResponse(Stream(released), "text/x", {}), given)({}, start_response)
    assert (released, given.begun) == ([1], [])


def test_connection_that_cannot_be_taken() -> None:
    """Nothing is held for a stream whose connection cannot change hands."""
    released: list[int] = []

    class Refusing(Given):
        def give(self, sock: Any, stream: Stream, *, chunked: bool) -> None:  # noqa: ARG002
            raise BrokenPipeError

    environ = {"gunicorn.socket": None, "SERVER_PROTOCOL": "HTTP/1.1"}
    with pytest.raises(BrokenPipeError):
        Hijack(StreamResponse(Stream(released), "text/x", {}), Refusing())(environ, lambda *_args: lambda _data: None)
    assert released == [1]


def test_server_that_takes_no_streams() -> None:
    """Under another server a stream is an error, and holds nothing."""
    released: list[int] = []
    with pytest.raises(RuntimeError, match="need gunicorn"):
        StreamResponse(Stream(released), "text/x", {})({}, lambda *_args: None)
    assert released == [1]


def test_other_answers_pass() -> None:
    """What is no stream is gunicorn's."""
    given = Given()
    assert Hijack(lambda _environ, _start: [b"body"], given)({}, lambda *_args: lambda _data: None) == [b"body"]
    assert given.begun == []
