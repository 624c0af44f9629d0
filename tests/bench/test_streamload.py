"""The load generator against a server that cuts its answers anywhere."""

from __future__ import annotations

import dataclasses
import random
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from bench.load import Asked, Load, Readers, compiled
from bench.subject import Reading

pytestmark = pytest.mark.skipif(compiled() is None, reason="no C compiler")

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_ASKED = Asked(b'"text":"', tokens=20, seconds=10, ids=True)


@contextmanager
def _serving(answer: Callable[[bytes], Iterator[bytes]]) -> Iterator[str]:
    """A server whose answers to requests come from ``answer``, one piece per write."""
    closes = "close" in answer.__name__

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            seen = b""
            while data := self.request.recv(65536):
                seen += data
                while b"\r\n\r\n" in seen:
                    head, _, seen = seen.partition(b"\r\n\r\n")
                    for piece in answer(head):
                        self.request.sendall(piece)
                if closes:
                    return

    with _server(Handler) as url:
        yield url


@contextmanager
def _server(handler: type[socketserver.BaseRequestHandler]) -> Iterator[str]:
    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        allow_reuse_address = True

    with Server(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/stream?x=1"
        finally:
            server.shutdown()
            thread.join()


def _read(url: str, asked: Asked = _ASKED, readers: int = 3) -> Load:
    with Readers([Reading(url, ("Accept: text/event-stream",))] * readers, asked) as at_work:
        return at_work.result()


def _event(number: int) -> bytes:
    return b'id: %d\nevent: token\ndata: {"id":%d,"text":"%d "}\n\n' % (number, number, time.time_ns() // 1000 - 5000)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _cut(data: bytes, seed: int) -> Iterator[bytes]:
    chance = random.Random(seed)
    while data:
        size = chance.randint(1, 30)
        yield data[:size]
        data = data[size:]


def test_tokens_cut_by_chunks_and_by_reads() -> None:
    """Every token counts once, wherever chunks and reads cut it, and its latency is from its stamp."""

    def answer(_head: bytes) -> Iterator[bytes]:
        body = b"retry: 5\nevent: attached\ndata: {}\n\n" + b"".join(map(_event, range(1, 21)))
        chunks = _HEAD + b"".join(map(_chunk, _cut(body, 1))) + b"0\r\n\r\n"
        yield from _cut(chunks, 2)

    with _serving(answer) as url:
        load = _read(url)
    assert (load.delivered, load.complete, load.ended, load.errors, load.open) == (60, 3, 3, 0, 0)
    assert 4.9 <= load.p50_ms < 2000


def test_several_stamps_behind_one_marker() -> None:
    """A text of several tokens is several tokens."""

    def answer(_head: bytes) -> Iterator[bytes]:
        stamp = b"%d " % (time.time_ns() // 1000)
        body = b'id: 1\ndata: {"text":"' + stamp * 20 + b'"}\n\n'
        yield b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
        yield from _cut(body, 3)

    with _serving(answer) as url:
        load = _read(url)
    assert (load.delivered, load.complete, load.ended, load.errors) == (60, 3, 3, 0)


@pytest.mark.parametrize("ids", [[1, 2, 4], [1, 1, 2], [2, 3, 4]])
def test_ids_that_do_not_go_up_by_one(ids: list[int]) -> None:
    """A missing or doubled id is an error."""

    def answer(_head: bytes) -> Iterator[bytes]:
        yield _HEAD
        for number in ids:
            yield _chunk(_event(number))
        yield b"0\r\n\r\n"

    with _serving(answer) as url:
        load = _read(url, readers=1)
    assert load.missing_or_doubled == 1
    assert load.complete == 0


def test_an_answer_that_is_cut_is_an_error() -> None:
    """A chunked answer without its last chunk did not end."""

    def closed_early(_head: bytes) -> Iterator[bytes]:
        yield _HEAD + _chunk(_event(1))

    with _serving(closed_early) as url:
        load = _read(url, readers=1)
    assert (load.delivered, load.closed_early, load.ended) == (1, 1, 0)


def test_a_refusal_is_an_error() -> None:
    """503 is no stream, and nor is nobody there."""

    def answer(_head: bytes) -> Iterator[bytes]:
        yield b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy"

    with _serving(answer) as url:
        load = _read(url)
    assert (load.bad_status, load.ended) == (3, 0)
    assert _read(url).refused == 3


def test_a_stream_that_stays_open_after_its_tokens_is_not_waited_for() -> None:
    """Once all have all their tokens, a second is left for them to end."""

    def answer(_head: bytes) -> Iterator[bytes]:
        yield _HEAD + b"".join(_chunk(_event(number)) for number in range(1, 21))

    with _serving(answer) as url:
        begun = time.monotonic()
        load = _read(url)
    assert (load.delivered, load.complete, load.open, load.errors) == (60, 3, 3, 0)
    assert time.monotonic() - begun < 5


def test_a_reader_that_is_turned_away_comes_again() -> None:
    """From its last id, until it has all."""
    asked: list[bytes] = []

    def answer(head: bytes) -> Iterator[bytes]:
        asked.append(head.split(b"Last-Event-ID: ")[1].split()[0])
        body = b"retry: 1\nevent: unavailable\ndata: {}\n\n"
        if len(asked) == 1:
            body = b"".join(map(_event, range(1, 6))) + body
        elif len(asked) == 3:
            body = b"".join(map(_event, range(6, 21)))
        yield b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)

    with _serving(answer) as url:
        load = _read(url, dataclasses.replace(_ASKED, again_s=0.01), readers=1)
    assert asked == [b"0", b"5", b"5"]
    assert (load.turned_away, load.delivered, load.complete, load.ended, load.errors) == (2, 20, 1, 1, 0)


def test_long_polling_asks_again_from_next() -> None:
    """It goes on after ``next`` on the same connection, and ends with ``ended``."""
    asked: list[bytes] = []

    def answer(head: bytes) -> Iterator[bytes]:
        after = int(head.split(b"after=")[1].split()[0])
        asked.append(head.split()[1])
        entries = b",".join(b'{"id":%d,"text":"%d "}' % (after + n, time.time_ns() // 1000) for n in range(1, 6))
        ended = b"true" if after == 15 else b"false"
        body = b'{"entries":[%b],"next":%d,"ended":%b}' % (entries, after + 5, ended)
        yield from _cut(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body), after)

    with _serving(answer) as url:
        load = _read(url, dataclasses.replace(_ASKED, ids=False, poll=True), readers=1)
    assert (load.delivered, load.complete, load.ended, load.errors, load.requests) == (20, 1, 1, 0, 4)
    assert asked == [b"/stream?x=1&after=%d" % after for after in (0, 5, 10, 15)]


def _frame(payload: bytes, opcode: int = 1, final: bool = True) -> bytes:
    head = bytes([opcode | 0x80 * final])
    if len(payload) < 126:
        return head + bytes([len(payload)]) + payload
    if len(payload) < 65536:
        return head + b"\x7e" + len(payload).to_bytes(2) + payload
    return head + b"\x7f" + len(payload).to_bytes(8) + payload


_SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
_OVER_WEBSOCKET = dataclasses.replace(_ASKED, websocket=True)


def test_websocket_frames_cut_anywhere() -> None:
    """Frames of every length, in pieces and with pings between them, bring every token once."""

    def answer(_head: bytes) -> Iterator[bytes]:
        stamp = time.time_ns() // 1000 - 5000
        paddings = [0, 60, 126, 70_000, *[10] * 16]
        entries = [
            b'{"id":%d,"text":"%d ","more":"%b"}' % (n, stamp, b"x" * more) for n, more in enumerate(paddings, 1)
        ]
        frames = [_frame(entry) for entry in entries]
        frames[1] = _frame(entries[1][:30], final=False) + _frame(b"?", opcode=9) + _frame(entries[1][30:], opcode=0)
        body = _SWITCH + _frame(b"", opcode=10) + b"".join(frames) + _frame(b"\x03\xe8", opcode=8)
        yield from _cut(body, 4)

    with _serving(answer) as url:
        load = _read(url, _OVER_WEBSOCKET)
    assert (load.delivered, load.entries, load.complete, load.ended, load.errors) == (60, 60, 3, 3, 0)
    assert 4.9 <= load.p50_ms < 20_000


def test_websocket_answers_pings_and_the_close() -> None:
    """A pong has the ping's payload, masked; the close is answered with its code."""
    sent: list[bytes] = []

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            stream = self.request.makefile("rb")
            while stream.readline() not in (b"\r\n", b""):
                pass
            self.request.sendall(_SWITCH + _frame(b"here?", opcode=9))
            sent.append(stream.read(11))
            self.request.sendall(_frame(b"\x03\xe8", opcode=8))
            sent.append(stream.read(8))

    with _server(Handler) as url:
        load = _read(url, _OVER_WEBSOCKET, readers=1)
    assert [_unmasked(frame) for frame in sent] == [(0x8A, b"here?"), (0x88, b"\x03\xe8")]
    assert (load.ended, load.errors) == (1, 0)


def _unmasked(frame: bytes) -> tuple[int, bytes]:
    assert frame[1] == 0x80 | len(frame) - 6
    mask = frame[2:6]
    return frame[0], bytes(byte ^ mask[n % 4] for n, byte in enumerate(frame[6:]))


@pytest.mark.parametrize(
    ("frames", "problem"),
    [
        (_frame(b"\x03\xf3", opcode=8), "closed_early"),  # 1011
        (_frame(b"", opcode=8), "closed_early"),
        (b"\x81\x81\x00\x00\x00\x00x", "malformed"),  # masked
        (b"\xc1\x01x", "malformed"),
        (b"\x09\x00", "malformed"),  # a ping in pieces
    ],
)
def test_websocket_that_does_not_end_well_is_an_error(frames: bytes, problem: str) -> None:
    """Any code but 1000, and whatever no server may send."""

    def answer(_head: bytes) -> Iterator[bytes]:
        yield _SWITCH + frames

    with _serving(answer) as url:
        load = _read(url, _OVER_WEBSOCKET, readers=1)
    assert (getattr(load, problem), load.errors, load.ended) == (1, 1, 0)


def test_repeated_requests_stop_when_time_is_up() -> None:
    """The next one follows each answer, on the same connection; answers with another status are errors."""

    def answer(_head: bytes) -> Iterator[bytes]:
        yield b'HTTP/1.1 304 Not Modified\r\nETag: "1"\r\n\r\n'

    asked = dataclasses.replace(_ASKED, tokens=0, seconds=0.3, ids=False, repeat=True)
    with _serving(answer) as url:
        load = _read(url, dataclasses.replace(asked, status=304))
        refused = _read(url, asked)
    assert load.answers > 3
    assert (load.open, load.errors, load.connections) == (3, 0, 3)
    assert (refused.bad_status, refused.answers) == (3, 0)
