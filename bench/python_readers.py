"""The load generator where there is no C compiler: ``bench/streamload.c`` in Python, with plain streams alone.

``python -m bench.python_readers FILE MARKER key=number...``, as the C program.
"""

from __future__ import annotations

import json
import re
import resource
import selectors
import socket
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

_ID = re.compile(rb"(?m)^id: (\d+)$")
_STAMP = re.compile(rb"(\d{16}) ")
_READ = 262_144
_GRACE_S = 1.0


@dataclass
class _Stream:
    sock: socket.socket
    buffer: bytes = b""
    answered: bool = False
    last_id: int = 0
    tokens: int = 0
    tail: bytes = b""


@dataclass
class _Run:
    marker: re.Pattern[bytes]
    options: dict[str, float]
    counts: dict[str, int] = field(default_factory=dict)
    latencies_ms: list[float] = field(default_factory=list)
    first_at: float = 0.0
    last_at: float = 0.0
    first_due_us: int = 0

    def count(self, what: str, more: int = 1) -> None:
        self.counts[what] = self.counts.get(what, 0) + more

    def token(self, stream: _Stream, due_us: int, now_us: int) -> None:
        self.count("delivered")
        stream.tokens += 1
        if stream.tokens == self.options["tokens"]:
            self.count("complete")
        self.first_due_us = self.first_due_us or due_us
        self.first_at, self.last_at = self.first_at or now_us / 1e6, now_us / 1e6
        if due_us >= self.first_due_us + self.options["warmup"] * 1e6:
            self.latencies_ms.append((now_us - due_us) / 1000)


def connect(url: str, headers: list[str]) -> socket.socket:
    """A connection on which that stream was asked for."""
    parts = urlsplit(url)
    sock = socket.create_connection((parts.hostname, parts.port), timeout=20)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    sock.sendall("\r\n".join([f"GET {target} HTTP/1.1", f"Host: {parts.netloc}", *headers, "", ""]).encode())
    return sock


def main() -> None:
    """Read, and print one JSON object."""
    name, marker, *rest = sys.argv[1:]
    run = _Run(
        re.compile(re.escape(marker.encode()) + rb"((?:\d{16} )+)"),
        {key: float(value) for key, _, value in (option.partition("=") for option in rest)},
    )
    if any(run.options[name] for name in ("poll", "post", "websocket", "repeat", "again")):
        sys.exit("this needs the C load generator, and there is no cc")
    lines = Path(name).read_text().splitlines()
    _read(run, lines)
    ordered = sorted(run.latencies_ms) or [0.0]
    at = {f"p{key}_ms": ordered[int(q * (len(ordered) - 1))] for key, q in _QUANTILES.items()}
    span_s = run.last_at - run.first_at
    used = resource.getrusage(resource.RUSAGE_SELF)
    figures = {"connections": len(lines), "span_s": span_s, "cpu_s": used.ru_utime + used.ru_stime}
    figures |= {"rate": run.counts.get("delivered", 0) / span_s if span_s else 0.0, "max_ms": ordered[-1]}
    print(json.dumps({**run.counts, **at, **figures, "counted": len(run.latencies_ms), "requests": len(lines)}))


_QUANTILES = {"50": 0.5, "90": 0.9, "99": 0.99, "999": 0.999}


def _read(run: _Run, lines: list[str]) -> None:
    selector = selectors.DefaultSelector()
    for line in lines:
        url, *headers = line.split("\t")
        try:
            sock = connect(url, headers)
        except OSError:
            run.count("refused")
            continue
        sock.setblocking(False)
        selector.register(sock, selectors.EVENT_READ, _Stream(sock))
    until = time.monotonic() + run.options["seconds"]
    graced = False
    while selector.get_map() and time.monotonic() < until:
        for key, _ in selector.select(timeout=0.1):
            _readable(run, selector, key.data)
        if run.counts.get("complete") == len(lines) and not graced:
            graced, until = True, min(until, time.monotonic() + _GRACE_S)
    run.counts["open"] = len(selector.get_map())


def _readable(run: _Run, selector: selectors.BaseSelector, stream: _Stream) -> None:
    data = stream.sock.recv(_READ)
    now_us = time.time_ns() // 1000
    stream.tail = (stream.tail + data)[-5:]
    if data:
        _take(run, stream, data, now_us)
    # The server closes, or a last chunk came, after which it keeps the connection.
    if not data or stream.tail == b"0\r\n\r\n":
        selector.unregister(stream.sock)
        stream.sock.close()
        whole = stream.answered and (not run.options["tokens"] or stream.tokens == run.options["tokens"])
        run.count("ended" if whole else "closed_early")


def _take(run: _Run, stream: _Stream, data: bytes, now_us: int) -> None:
    """Whole events, or lines: what one write sends is one chunk, so that a token never lies in two."""
    if not stream.answered:
        stream.answered = True
        if b" 200 " not in data[:15]:
            run.count("bad_status")
    data = stream.buffer + data
    end = data.rfind(b"\n") + 1
    stream.buffer, data = data[end:], data[:end]
    if run.options["ids"]:
        for number in map(int, _ID.findall(data)):
            run.count("missing_or_doubled", number != stream.last_id + 1)
            stream.last_id = number
    for text in run.marker.findall(data):
        for stamp in _STAMP.findall(text):
            run.token(stream, int(stamp), now_us)


if __name__ == "__main__":
    main()
