"""``python -m bench.added_latency``: what Spool adds to calling a model server directly, over ``/v1/chat/completions``.

The same requests go to a fast stand-in (``bench.stand_in``) directly and through Spool, in turns, in one run: the time
to the first token of single requests, and the latency of each token, from when it was due, of many streams at a time.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import selectors
import socket
import statistics
import tempfile
import time
from pathlib import Path

from bench.stand_in_process import StandIn
from rig.process import ROOT, wait_for
from rig.stack import running_stack

_STAMP = re.compile(rb'"content":"(\d{16}) "')


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="bench.added_latency", description=__doc__)
    parser.add_argument("--requests", type=int, default=300, help="single requests for the time to the first token")
    parser.add_argument("--streams", type=int, default=50)
    parser.add_argument("--rate", type=float, default=50)
    parser.add_argument("--seconds", type=float, default=8)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="spool-") as name:
        stand_in = StandIn(Path(name))
        try:
            stand_in.start()
            url = stand_in.url
            with running_stack(Path(name), webs=1, workers=1, concurrency=100, aof=True, UPSTREAM_URL=url) as stack:
                models = stack.client()
                wait_for(lambda: "stand-in" in models.get("/v1/models").text, "its model is discovered")
                _print(options, {"directly": stand_in.port, "through Spool": stack.webs[0].port})
        finally:
            stand_in.stop()


def _print(options: argparse.Namespace, ports: dict[str, int]) -> None:
    firsts: dict[str, list[float]] = {name: [] for name in ports}
    for number in range(options.requests + 10):
        for name, port in ports.items():
            first_ms = _first_token_ms(port)
            if number >= 10:
                firsts[name].append(first_ms)
    tokens = {name: _token_latencies_ms(port, options) for name, port in ports.items()}
    print(f"{'ms, p50 / p99':16}{'first token':>20}{'each token':>20}")
    for name in ports:
        print(f"{name:16}{_both(firsts[name]):>20}{_both(tokens[name]):>20}")
    added = [
        [_at(figures["through Spool"], q) - _at(figures["directly"], q) for q in (0.5, 0.99)]
        for figures in (firsts, tokens)
    ]
    print(f"{'added':16}{added[0][0]:12.2f} / {added[0][1]:5.2f}{added[1][0]:12.2f} / {added[1][1]:5.2f}")
    print(
        f"first token: {options.requests} single requests each, in turns; each token: {options.streams} streams x "
        f"{options.rate:g}/s x {options.seconds:g} s, from the time it was due"
    )


def _request(port: int, tokens: int, rate: float) -> bytes:
    body = {
        "model": "stand-in",
        "messages": [{"role": "user", "content": "bench"}],
        "stream": True,
        "tokens": tokens,
        "rate": rate,
    }
    raw = json.dumps(body).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(raw)}\r\n\r\n".encode() + raw


def _first_token_ms(port: int) -> float:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        began = time.perf_counter()
        sock.sendall(_request(port, 1, 1000))
        seen = b""
        while not _STAMP.search(seen):
            data = sock.recv(65536)
            if not data:
                raise RuntimeError(f"no token: {seen!r}")
            seen += data
        return (time.perf_counter() - began) * 1000


def _token_latencies_ms(port: int, options: argparse.Namespace) -> list[float]:
    selector, latencies = selectors.DefaultSelector(), []
    request = _request(port, int(options.rate * options.seconds), options.rate)
    for _ in range(options.streams):
        sock = socket.create_connection(("127.0.0.1", port), timeout=20)
        sock.sendall(request)
        sock.setblocking(False)
        selector.register(sock, selectors.EVENT_READ)
        time.sleep(1 / options.streams)  # so that they are not all due at once
    # What was due before all were connected has waited for that.
    counts_from_us = time.time_ns() // 1000
    until, seen = time.monotonic() + options.seconds + 20, 0
    while selector.get_map() and time.monotonic() < until:
        for key, _ in selector.select(timeout=0.5):
            data = key.fileobj.recv(262_144)  # type: ignore[union-attr]
            now_us = time.time_ns() // 1000
            stamps = [int(stamp) for stamp in _STAMP.findall(data)]
            seen += len(stamps)
            latencies += [(now_us - stamp) / 1000 for stamp in stamps if stamp > counts_from_us]
            if not data or b"[DONE]" in data:
                selector.unregister(key.fileobj)
                key.fileobj.close()  # type: ignore[union-attr]
    expected = options.streams * int(options.rate * options.seconds)
    if seen < expected * 0.99:
        raise RuntimeError(f"{seen} tokens of {expected}")
    return latencies


def _both(values: list[float]) -> str:
    return f"{_at(values, 0.5):.2f} / {_at(values, 0.99):.2f}"


def _at(values: list[float], q: float) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[round(q * 100) - 1]


if __name__ == "__main__":
    os.chdir(ROOT)
    main()
