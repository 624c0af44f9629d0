"""The body of a request as it is received: its framing, its limits, and what may follow it on the connection."""

from __future__ import annotations

import socket
import tracemalloc
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import gevent
import gevent.socket
import pytest
from flask import Flask
from gunicorn.http.errors import NoMoreData, ParseException

from tests.clock import Clock
from web.intake.body import pieces, read_body
from web.limits.uploads import OWN_BYTES, Uploads
from web.problems import Problem
from web.server.body import DRAIN_BYTES, ChunkedBody, LengthBody, RequestBody
from web.server.fair_turns import TURN_S, Turns
from web.server.source import Source

NEXT = b"GET /next"


class Pair:
    """A client's end, and bodies at the server's."""

    def __init__(self) -> None:
        ours, self.client = gevent.socket.socketpair()
        self.source = Source(ours, Turns())
        self.uploads = Uploads(1_000_000)
        self.ours = ours

    def body(self, sent: bytes, length: int | None = None, **options: Any) -> RequestBody:
        """A body of which so much has been sent."""
        options = {"total_s": 5.0, "expects_continue": False, **options}
        self.client.sendall(sent)
        if length is None:
            return ChunkedBody(self.source, self.uploads, **options)
        return LengthBody(length, self.source, self.uploads, **options)

    def close(self) -> None:
        """Close both ends."""
        self.ours.close()
        self.client.close()


@pytest.fixture
def pair() -> Iterator[Pair]:
    """A connection."""
    one = Pair()
    yield one
    one.close()


CHUNKED = [
    (b"0\r\n\r\n", b""),
    (b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
    (b"1\r\na\r\n2\r\nbc\r\n0\r\n\r\n", b"abc"),
    (b"A\r\n0123456789\r\n000\r\n\r\n", b"0123456789"),
    (b'5;a=b;c="d"\r\nhello\r\n0;x\r\n\r\n', b"hello"),
    (b"2\r\n\r\n\r\n0\r\nA: b\r\nC: d\r\n\r\n", b"\r\n"),
]


@pytest.mark.parametrize(("sent", "content"), CHUNKED)
def test_chunks_at_every_boundary(pair: Pair, sent: bytes, content: bytes) -> None:
    """The content of a body in chunks is the same however the network cuts it, and what follows it is kept."""
    for cut in range(len(sent) + 1):
        body = pair.body(sent[:cut])
        gevent.spawn(pair.client.sendall, sent[cut:] + NEXT)
        assert body.read() == content
        assert body.is_whole
        rest = pair.source.take_buffered()
        while rest != NEXT:
            rest += pair.source.chunk()
            assert NEXT.startswith(rest)


@pytest.mark.parametrize(
    "sent",
    [
        b"zz\r\n",
        b"-1\r\nx\r\n",
        b"5\r\nhelloXX0\r\n\r\n",
        b"1\nx\r\n",
        b"1 1\r\nx\r\n",
        b"\r\n",
        b"1;" + b"x" * 1000,
        b"0\r\n" + b"A: b\r\n" * 3000,
        b"1\r\nx\r\n" * 10_000,
        b"f" * 300,
    ],
    ids=range(10),
)
def test_chunks_that_are_malformed(pair: Pair, sent: bytes) -> None:
    """A wrong size, a wrong end, a line, trailers or chunks beyond their bounds: refused, and nothing may follow."""
    sending = gevent.spawn(pair.client.sendall, sent)
    body = pair.body(b"")
    with pytest.raises(ParseException):
        body.read()
    sending.kill()
    assert not body.can_be_left
    assert not body.leave()


def test_body_of_an_announced_length(pair: Pair) -> None:
    """So many bytes are read, and not one of those that follow."""
    body = pair.body(b"hello" + NEXT, 5)
    assert body.read(2) == b"he"
    assert body.read() == b"llo"
    assert body.read() == b""
    assert pair.source.take_buffered() + pair.source.chunk() == NEXT


@pytest.mark.parametrize("stored", [True, False])
def test_body_that_is_stored_while_it_arrives(pair: Pair, stored: bool) -> None:
    """What the application has stored counts no more as held."""
    size = 1024 * 1024
    sending = gevent.spawn(pair.client.sendall, b"x" * size)
    pair.uploads.limit = 2 * size
    body = pair.body(b"", size)
    left = size - 1
    while left:
        left -= len(body.read(min(left, 65_536)))
        if stored:
            body.release()
    sending.join()
    assert pair.uploads.counted == (0 if stored else size - 1 - OWN_BYTES)
    assert body.received == size - 1


def test_time_limit_is_renewed(pair: Pair) -> None:
    """After each 8 MiB that are stored, a body may take its time limit once more."""
    size, clock = 17 * 1024 * 1024, Clock()
    gevent.spawn(pair.client.sendall, b"x" * size)
    body = pair.body(b"", size, total_s=60.0, clock=clock)
    for share in (8, 8, 1):
        left = share * 1024 * 1024
        while left:
            left -= len(body.read(min(left, 65_536)))
            body.release()
        clock.now += 59
    assert body.is_whole


def test_time_to_store_does_not_count(pair: Pair) -> None:
    """The time limit is the client's: what the application needs between a read and its release is added to it."""
    gevent.spawn(pair.client.sendall, b"x" * 4)
    clock = Clock()
    body = pair.body(b"", 4, total_s=60.0, clock=clock)
    while not body.is_whole:
        body.read(1)
        clock.now += 50
        body.release()
    assert body.received == 4


@pytest.mark.parametrize("length", [10, None])
def test_body_that_does_not_come_in_time(pair: Pair, length: int | None) -> None:
    """A body that stops coming is answered with 408 once its time is over."""
    body = pair.body(b"5\r\n", length, total_s=0.05)
    with pytest.raises(Problem) as caught:
        body.read()
    assert caught.value.status == 408
    assert not body.leave()


def test_body_that_comes_a_byte_at_a_time(pair: Pair) -> None:
    """The time counts for the whole body, not for each piece of it."""

    def drip() -> None:
        while True:
            pair.client.sendall(b"x")
            gevent.sleep(0.005)

    dripping = gevent.spawn(drip)
    body = pair.body(b"", 1_000_000, total_s=0.1)
    with pytest.raises(Problem) as caught:
        body.read()
    dripping.kill()
    assert caught.value.status == 408


@pytest.mark.parametrize(
    ("sent", "length", "leaves"),
    [
        (b"hello", 5, True),
        (b"5\r\nhello\r\n0\r\n\r\n", None, True),
        (b"", 0, True),
        (b"", DRAIN_BYTES + 1, False),
        (b"1\r\nx\r\n" * (DRAIN_BYTES // 3), None, False),
        (b"zz\r\n", None, False),
    ],
    ids=range(6),
)
def test_body_that_was_not_wanted(pair: Pair, sent: bytes, length: int | None, leaves: bool) -> None:
    """A small one is skipped and the next request follows; a large, endless or malformed one ends the connection."""
    sending = gevent.spawn(pair.client.sendall, sent)
    body = pair.body(b"", length)
    assert body.leave() is leaves
    sending.kill()


def test_client_that_waits_to_be_asked(pair: Pair) -> None:
    """``100 Continue`` is sent when the body is wanted; where it is not, nothing may follow on the connection."""
    body = pair.body(b"", 5, expects_continue=True)
    assert not body.can_be_left
    gevent.spawn(pair.client.sendall, b"hello")
    assert body.read() == b"hello"
    assert pair.client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert body.can_be_left


def test_bodies_beyond_the_bytes_that_may_be_held(pair: Pair) -> None:
    """The body without progress for the longest is given up with 503, also where it waits, and counts no more."""
    pair.uploads.limit = 10_000
    other = Pair()
    other.uploads = pair.uploads
    sent = b"x" * (OWN_BYTES + 6_000)
    try:
        older, newer = pair.body(sent, 100_000), other.body(sent, 100_000)
        assert _read(older, len(sent)) == sent
        waiting = gevent.spawn(_status_of, older)
        gevent.idle()
        assert _read(newer, len(sent)) == sent
        waiting.join(60)
        assert waiting.value == 503
        assert not older.can_be_left
        assert pair.uploads.counted == 6_000
    finally:
        other.close()


def _read(body: RequestBody, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += body.read(size - len(data))
    return data


def _status_of(body: RequestBody) -> int:
    with pytest.raises(Problem) as caught:
        body.read()
    return caught.value.status


def _gather() -> None:
    gathered = bytearray()
    for piece in pieces():
        gathered += piece
        del piece


@pytest.mark.parametrize("length", [200_000, None])
@pytest.mark.parametrize("read", [read_body, _gather])
def test_memory_of_a_body_that_waits(pair: Pair, length: int | None, read: Callable[[], object]) -> None:
    """A request whose body stops half-way holds what has come of it, and no buffer for what may come."""
    content = b"x" * 60_000
    body = pair.body(b"" if length else b"%x\r\n" % 200_000, length)
    environ = {"wsgi.input": body, "wsgi.input_terminated": True, "CONTENT_LENGTH": str(length or "")}
    app = Flask("web")

    def receive() -> None:
        with app.test_request_context("/jobs", method="POST", environ_overrides=environ):
            read()

    tracemalloc.start()
    try:
        receiving = gevent.spawn(receive)
        gevent.spawn(pair.client.sendall, content)
        with gevent.Timeout(60):
            while body.received < len(content):
                gevent.sleep(0)
        # It waits for more.
        gevent.idle()
        large = [one for one in tracemalloc.take_snapshot().traces if one.size > 40_000]
        assert sum(one.size for one in large) < 1.2 * len(content)
    finally:
        tracemalloc.stop()
    receiving.kill()


def test_others_run_while_a_body_is_decoded(pair: Pair) -> None:
    """A connection whose bytes are all there gives up its turn, and turns of several follow one another with rests."""
    now, slept = 100.0, []

    def sleep(seconds: float) -> None:
        slept.append(seconds)

    turns = Turns(clock=lambda: now, sleep=sleep)
    for _ in range(3):
        turns.wait()
    assert slept == sorted(slept)
    assert all(later - earlier > TURN_S for earlier, later in pairwise(slept))
    times = iter(range(1000))
    source = Source(pair.ours, turns, clock=lambda: float(next(times)))
    before = len(slept)
    pair.client.sendall(b"x")
    source.chunk()
    assert len(slept) == before + 1


def test_read_that_has_nothing_to_read(pair: Pair) -> None:
    """A client that closes in the middle of its body is an error of the connection."""
    body = pair.body(b"he", 5)
    pair.client.shutdown(socket.SHUT_WR)
    with pytest.raises(NoMoreData):
        body.read()
    assert not body.leave()
