"""The load generator: many SSE readers in one thread, on epoll, reading stamps.

A stamp is the time a token was due, in whole microseconds since the epoch, so that a late producer shows as latency.
It is cheap enough (a few microseconds an event) not to be what is measured; its CPU is reported all the same.
"""

from __future__ import annotations

import re
import resource
import selectors
import socket
import time
from dataclasses import dataclass, field

_STAMP = re.compile(rb'"text":"(\d{16}) "')
_ID = re.compile(rb"(?m)^id: (\d+)$")
_READ = 262_144


@dataclass
class Measured:
    """What the readers saw. Latencies in milliseconds."""

    latencies_ms: list[float] = field(default_factory=list)
    events: int = 0
    missing_or_doubled: int = 0
    failed: int = 0
    cpu_s: float = 0.0
    span_s: float = 0.0

    def percentile(self, q: float) -> float:
        """The latency that the part ``q`` of all events does not exceed."""
        ordered = sorted(self.latencies_ms)
        return ordered[min(len(ordered) - 1, int(q * len(ordered)))] if ordered else float("nan")


class _Stream:
    __slots__ = ("buffer", "last_id", "path", "sock")

    def __init__(self, sock: socket.socket, path: str) -> None:
        self.sock = sock
        self.path = path
        self.buffer = b""
        self.last_id = 0


def connect(host: str, port: int, path: str) -> socket.socket:
    """A connection on which the stream at ``path`` was asked for."""
    sock = socket.create_connection((host, port), timeout=20)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    head = f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nAccept: text/event-stream\r\n\r\n"
    sock.sendall(head.encode())
    return sock


def read_streams(host: str, port: int, paths: list[str], *, seconds: float, warmup_s: float) -> Measured:
    """Read every path's stream to its end, ``seconds`` at most; latencies of the first ``warmup_s`` seconds of events
    are left out."""
    measured = Measured()
    selector = selectors.DefaultSelector()
    for path in paths:
        sock = connect(host, port, path)
        sock.setblocking(False)
        selector.register(sock, selectors.EVENT_READ, _Stream(sock, path))
    before = resource.getrusage(resource.RUSAGE_SELF)
    until, first_at = time.monotonic() + seconds, 0.0
    while selector.get_map() and time.monotonic() < until:
        for key, _ in selector.select(timeout=0.5):
            data = key.data.sock.recv(_READ)
            now_us = time.time_ns() // 1000
            if not data:
                selector.unregister(key.data.sock)
                key.data.sock.close()
                continue
            first_at = first_at or now_us / 1e6
            _take(key.data, data, now_us, measured, warm=now_us / 1e6 - first_at > warmup_s)
    measured.failed = len(selector.get_map())
    after = resource.getrusage(resource.RUSAGE_SELF)
    measured.cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return measured


def _take(stream: _Stream, data: bytes, now_us: int, measured: Measured, *, warm: bool) -> None:
    data = stream.buffer + data
    end = data.rfind(b"\n\n") + 2
    if end < 2:
        stream.buffer = data
        return
    stream.buffer, data = data[end:], data[:end]
    for number in map(int, _ID.findall(data)):
        measured.missing_or_doubled += number != stream.last_id + 1
        stream.last_id = number
    for stamp in _STAMP.findall(data):
        measured.events += 1
        if warm:
            measured.latencies_ms.append((now_us - int(stamp)) / 1000)
