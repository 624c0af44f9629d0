"""The load generator as a WebSocket's client."""

from __future__ import annotations

import dataclasses
import socketserver
import time
from collections.abc import Iterator

import pytest

from bench.load import compiled
from tests.bench.serving import ASKED, cut, read, server, serving

pytestmark = pytest.mark.skipif(compiled() is None, reason="no C compiler")


def _frame(payload: bytes, opcode: int = 1, final: bool = True) -> bytes:
    head = bytes([opcode | 0x80 * final])
    if len(payload) < 126:
        return head + bytes([len(payload)]) + payload
    if len(payload) < 65536:
        return head + b"\x7e" + len(payload).to_bytes(2) + payload
    return head + b"\x7f" + len(payload).to_bytes(8) + payload


_SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
_OVER_WEBSOCKET = dataclasses.replace(ASKED, websocket=True)


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
        yield from cut(body, 4)

    with serving(answer) as url:
        load = read(url, _OVER_WEBSOCKET)
    assert (load.delivered, load.entries, load.complete, load.ended, load.errors) == (60, 60, 3, 3, 0)
    assert load.p50_ms >= 4.9


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

    with server(Handler) as url:
        load = read(url, _OVER_WEBSOCKET, readers=1)
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

    with serving(answer) as url:
        load = read(url, _OVER_WEBSOCKET, readers=1)
    assert (getattr(load, problem), load.errors, load.ended) == (1, 1, 0)
