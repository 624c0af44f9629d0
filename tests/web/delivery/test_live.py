"""A stream on a connection of its own: what is written when, and that it lets go of everything, however it ends."""

from __future__ import annotations

import _socket
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import gevent
import pytest

from spool.errors import StoreUnavailable
from spool.following.feed import Feed
from spool.following.reader import Reader
from spool.following.replay_cache import ReplayCache
from spool.jobs.log import Row
from tests.by_hand import done, tokens
from web.delivery.formats.ndjson import FORMATS
from web.delivery.live import LiveStream
from web.limits.unsent import Unsent
from web.server.hijack import Hijack, StreamResponse

LINES = FORMATS[True, False]
LAST = b"0\r\n\r\n"


class StandIn:
    """What a reader asks of its follower, without a Redis."""

    def __init__(self) -> None:
        self.asked = 0

    def read_again(self, feed: Feed, after: int) -> list[Row] | None:  # noqa: ARG002 - the follower's
        """Redis is away."""
        self.asked += 1
        raise StoreUnavailable("away")

    def leave(self, reader: Reader) -> None:
        """It reads no more."""


class NoLink:
    """A link to a Redis that is away."""

    def call(self, *_command: Any) -> Any:
        """Fails."""
        raise StoreUnavailable("away")


class Streaming:
    """A stream over a pair of sockets, and all that can be seen of it."""

    def __init__(self, *, chunked: bool = True, stall_s: float = 5.0, buffer: int | None = None) -> None:
        self.feed = Feed("j", 0)
        self.feed.ready = True
        self.reader = Reader(StandIn(), ReplayCache(NoLink()), self.feed, 0)  # type: ignore[arg-type]
        self.feed.readers.add(self.reader)
        self.released = 0
        self.given_back: list[_socket.socket] = []
        self.unsent = Unsent(1_000_000)
        self.stream = LiveStream(
            self.reader, LINES, b"", self._release, heartbeat_s=1.0, stall_s=stall_s, unsent=self.unsent
        )
        ours, self.client = socket.socketpair()
        if buffer is not None:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
        self.client.settimeout(60)
        plain = _socket.socket(ours.family, ours.type, ours.proto, ours.detach())
        plain.setblocking(False)
        self.stream.begin(plain, chunked=chunked, give_back=self.given_back.append)

    def _release(self) -> None:
        self.released += 1

    def say(self, *texts: str) -> bytes:
        """New entries; what they are in NDJSON."""
        entries = tokens(self.feed.last + 1, *texts)
        self.feed.add(self.feed.last + 1, entries)
        self.feed.wake()
        return b"".join(entry + b"\n" for entry in entries)

    def end(self) -> bytes:
        """The terminal entry, likewise."""
        entry = done(self.feed.last + 1)
        self.feed.add(self.feed.last + 1, [entry])
        self.feed.wake()
        return entry + b"\n"

    def close(self) -> None:
        """Gone."""
        self.stream.abandon()
        self.client.close()
        for sock in self.given_back:
            sock.close()


@pytest.fixture
def streaming() -> Iterator[Callable[..., Streaming]]:
    """Makes streams, which are gone afterwards."""
    made: list[Streaming] = []

    def make(**options: Any) -> Streaming:
        made.append(Streaming(**options))
        return made[-1]

    yield make
    for one in made:
        one.close()


def until(condition: Callable[[], object]) -> None:
    """Let greenlets run until it is so."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        gevent.sleep(0.001)


def chunk(data: bytes) -> bytes:
    """As HTTP/1.1 frames it."""
    return b"%X\r\n%b\r\n" % (len(data), data)


def test_entries_are_sent_by_who_brings_them(streaming: Callable[..., Streaming]) -> None:
    """What comes is on the wire when the wake-up returns, all that gathered as one chunk; nothing had to run."""
    one = streaming()
    for texts in (["a"], ["b", "c"]):
        sent = one.say(*texts)
        assert one.client.recv(1000) == chunk(sent)


def test_old_clients_get_bare_bytes(streaming: Callable[..., Streaming]) -> None:
    """HTTP/1.0 knows no chunks: the end of the connection ends the body."""
    one = streaming(chunked=False)
    sent = one.say("a") + one.end()
    until(lambda: one.released)
    assert one.client.recv(1000) + one.client.recv(1000) == sent
    assert one.client.recv(1) == b""
    assert one.given_back == []


def test_end_gives_the_connection_back(streaming: Callable[..., Streaming]) -> None:
    """The terminal entry and the last chunk go together, and the connection may carry another request."""
    one = streaming()
    sent = one.end()
    until(lambda: one.given_back)
    assert one.client.recv(1000) == chunk(sent) + LAST
    assert one.released == 1


def test_slow_client_gets_everything_in_order(streaming: Callable[..., Streaming]) -> None:
    """What the socket does not take waits, and what comes meanwhile comes after it."""
    one = streaming(buffer=4096)
    sent = b"".join(one.say("x" * 3000, "y" * 3000) for _ in range(20)) + one.end()
    received = bytearray()
    one.client.settimeout(0)

    def read() -> bool:
        with suppress(BlockingIOError):
            received.extend(one.client.recv(5000))
        return received.endswith(LAST)

    until(read)
    body, rest = b"", bytes(received)
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        body, rest = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    assert body == sent
    assert one.released == 1


def test_client_that_takes_nothing_is_reset(streaming: Callable[..., Streaming]) -> None:
    """It has its time for a piece, and no more."""
    one = streaming(buffer=4096, stall_s=0.05)
    for _ in range(40):
        one.say("x" * 3000)
    until(lambda: one.released)
    assert one.given_back == []
    one.say("nobody is there")
    assert one.released == 1


def test_client_that_leaves(streaming: Callable[..., Streaming]) -> None:
    """An idle stream ends when its client closes."""
    one = streaming()
    one.client.close()
    until(lambda: one.released)
    assert one.reader.on_wake is None


def test_client_that_asks_on(streaming: Callable[..., Streaming]) -> None:
    """A pipelined request waits for the end of this answer."""
    one = streaming()
    one.client.send(b"GET / HTTP/1.1\r\n\r\n")
    until(lambda: not one.stream._watcher.active)
    sent = one.say("a")
    assert one.client.recv(1000) == chunk(sent)
    one.end()
    until(lambda: one.given_back)
    assert one.given_back[0].recv(1000) == b"GET / HTTP/1.1\r\n\r\n"


def test_silence_is_broken_by_heartbeats(streaming: Callable[..., Streaming]) -> None:
    """Once their time has come, and not at every tick."""
    one = streaming()
    sent = one.say("a")
    one.reader.wake()
    one.reader.tick_at = time.monotonic()
    one.reader.wake()
    until(lambda: one.reader.tick_at > time.monotonic())
    assert one.client.recv(1000) == chunk(sent) + chunk(LINES.heartbeat(1))


def test_draining_server_says_so(streaming: Callable[..., Streaming]) -> None:
    """The stream ends whole, with the word that it goes on elsewhere."""
    one = streaming()
    one.reader.leave_at = time.monotonic()
    one.reader.wake()
    until(lambda: one.released)
    assert one.client.recv(1000) == chunk(LINES.reconnect()) + LAST


def test_redis_away_says_so(streaming: Callable[..., Streaming]) -> None:
    """A reader whose log cannot be read now is told, and its stream ends whole."""
    one = streaming()
    one.feed.jump(100)
    one.feed.wake()
    until(lambda: one.released)
    received = one.client.recv(1000)
    assert b"unavailable" in received
    assert received.endswith(LAST)


def test_bug_ends_this_stream_alone(streaming: Callable[..., Streaming], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever breaks in a stream's greenlet, it lets go of what it holds and its client sees a broken body."""

    class Broken(Exception):
        pass

    def breaks(*_args: object) -> None:
        raise Broken

    one = streaming()
    monkeypatch.setattr(Reader, "take", breaks)
    one.end()
    until(lambda: one.released)
    assert one.client.recv(1000) == b""


class Given:
    """A worker that keeps what it is told to begin."""

    def __init__(self) -> None:
        self.begun: list[tuple[Any, LiveStream, bool]] = []

    def give(self, sock: Any, stream: LiveStream, *, chunked: bool) -> None:
        """Keep it."""
        self.begun.append((sock, stream, chunked))


def test_stream_that_is_reset_for_others(streaming: Callable[..., Streaming]) -> None:
    """What a stream's client does not take counts; where others need the memory, the stream ends and lets go of all."""
    one = streaming(buffer=4096)
    one.say("x" * 500_000)
    until(lambda: one.unsent.total > 400_000)
    one.unsent.begin(900_000, lambda: None)
    until(lambda: one.released == 1)
    assert one.unsent.total == 900_000


def stream_of(released: list[int]) -> LiveStream:
    """One that was not begun."""
    reader = Reader(StandIn(), ReplayCache(NoLink()), Feed("j", 0), 0)  # type: ignore[arg-type]
    return LiveStream(
        reader, LINES, b"opening", lambda: released.append(1), heartbeat_s=1.0, stall_s=1.0, unsent=Unsent(1)
    )


def test_hand_over() -> None:
    """The headers and the opening go the way of WSGI, and then the connection changes hands."""
    released: list[int] = []
    response, given, written = StreamResponse(stream_of(released), "text/x", {"A": "b"}), Given(), []

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
        Hijack(StreamResponse(stream_of(released), "text/x", {}), given)({}, start_response)
    assert (released, given.begun) == ([1], [])


def test_connection_that_cannot_be_taken() -> None:
    """Nothing is held for a stream whose connection cannot change hands."""
    released: list[int] = []

    class Refusing(Given):
        def give(self, sock: Any, stream: LiveStream, *, chunked: bool) -> None:  # noqa: ARG002
            raise BrokenPipeError

    environ = {"gunicorn.socket": None, "SERVER_PROTOCOL": "HTTP/1.1"}
    with pytest.raises(BrokenPipeError):
        Hijack(StreamResponse(stream_of(released), "text/x", {}), Refusing())(
            environ, lambda *_args: lambda _data: None
        )
    assert released == [1]


def test_server_that_takes_no_streams() -> None:
    """Under another server a stream is an error, and holds nothing."""
    released: list[int] = []
    with pytest.raises(RuntimeError, match="need gunicorn"):
        StreamResponse(stream_of(released), "text/x", {})({}, lambda *_args: None)
    assert released == [1]


def test_other_answers_pass() -> None:
    """What is no stream is gunicorn's."""
    given = Given()
    assert Hijack(lambda _environ, _start: [b"body"], given)({}, lambda *_args: lambda _data: None) == [b"body"]
    assert given.begun == []
