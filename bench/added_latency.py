"""``python -m bench.added_latency``: what Spool adds to calling a model server directly, on each surface.

Requests for the same answers go to a fast stand-in (``bench.stand_in``) directly and to each surface of Spool, in
turns, in one run: the time to the first token of single requests, and the latency of each token, from when it was due,
of many streams at a time.
"""

from __future__ import annotations

import argparse
import itertools
import os
import selectors
import socket
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from bench.stand_in_process import StandIn
from bench.surfaces import DIRECT, SURFACES, Surface, Tokens
from rig.process import ROOT, wait_for
from rig.stack import running_stack

_RATE = 50
"""Tokens a second, of each stream: what the stand-in makes unasked."""
_WARM_UP = 10
_DIRECTLY = "directly"
_NUMBERS = itertools.count()


@dataclass
class Target:
    """One surface at a port, and its latencies in ms."""

    surface: Surface
    port: int
    firsts: list[float] = field(default_factory=list)
    tokens: list[float] = field(default_factory=list)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="bench.added_latency", description=__doc__)
    parser.add_argument("--requests", type=int, default=300, help="single requests for the time to the first token")
    parser.add_argument("--streams", type=int, default=50)
    parser.add_argument("--seconds", type=int, default=6, help="of each turn of the streams")
    parser.add_argument("--turns", type=int, default=3, help="turns of the streams")
    parser.add_argument("--only", default=",".join(SURFACES), help="surfaces, separated by commas")
    parser.add_argument("--short", action="store_true", help="30 requests, and one turn of 2 s")
    options = parser.parse_args()
    if options.short:
        options.requests, options.seconds, options.turns = 30, 2, 1
    with tempfile.TemporaryDirectory(prefix="spool-") as name:
        stand_in = StandIn(Path(name))
        try:
            stand_in.start()
            url = stand_in.url
            with running_stack(Path(name), webs=1, workers=1, concurrency=100, aof=True, UPSTREAM_URL=url) as stack:
                models = stack.client()
                wait_for(lambda: "stand-in" in models.get("/v1/models").text, "its model is discovered")
                targets = {_DIRECTLY: Target(DIRECT, stand_in.port)}
                wanted = [name for name in SURFACES if name in options.only]
                targets |= {name: Target(SURFACES[name], stack.webs[0].port) for name in wanted}
                _measure(options, list(targets.values()))
                _print(options, targets)
        finally:
            stand_in.stop()


def _measure(options: argparse.Namespace, targets: list[Target]) -> None:
    for number in range(options.requests + _WARM_UP):
        for target in targets:
            first_ms = _first_token_ms(target)
            if number >= _WARM_UP:
                target.firsts.append(first_ms)
    for _ in range(options.turns):
        for target in targets:
            target.tokens += _token_latencies_ms(target, options)


def _print(options: argparse.Namespace, targets: dict[str, Target]) -> None:
    print("| p50 / p99 ms | first token | added | each token | added |\n|---|---|---|---|---|")
    direct = targets[_DIRECTLY]
    for name, target in targets.items():
        pairs = ((target.firsts, direct.firsts), (target.tokens, direct.tokens))
        cells = [
            cell for mine, theirs in pairs for cell in (_both(mine), "" if target is direct else _more(mine, theirs))
        ]
        print(f"| {name} | {' | '.join(cells)} |")
    print(
        f"\nfirst token: {options.requests} single requests each, in turns; each token: {options.streams} streams x "
        f"{_RATE}/s, {options.turns} turns of {options.seconds} s, from the time it was due"
    )


def _first_token_ms(target: Target) -> float:
    with socket.create_connection(("127.0.0.1", target.port), timeout=20) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        request, tokens = target.surface.request(target.port, 1, next(_NUMBERS)), target.surface.tokens()
        seen = b""
        began = time.perf_counter()
        sock.sendall(request)
        while not tokens.count:
            data = sock.recv(65536)
            seen += data
            if not data:
                raise RuntimeError(f"no token on {target.surface.path}: {seen!r}")
            tokens.add(data)
        return (time.perf_counter() - began) * 1000


def _token_latencies_ms(target: Target, options: argparse.Namespace) -> list[float]:
    count = _RATE * options.seconds
    with selectors.DefaultSelector() as selector:
        for _ in range(options.streams):
            sock = socket.create_connection(("127.0.0.1", target.port), timeout=20)
            sock.sendall(target.surface.request(target.port, count, next(_NUMBERS)))
            sock.setblocking(False)
            selector.register(sock, selectors.EVENT_READ, target.surface.tokens())
            time.sleep(1 / options.streams)  # so that they are not all due at once
        # What was due before all were connected has waited for that.
        return _read(selector, time.time_ns() // 1000, count, time.monotonic() + options.seconds + 20)


def _read(selector: selectors.BaseSelector, from_us: int, count: int, until: float) -> list[float]:
    latencies: list[float] = []
    while selector.get_map():
        if time.monotonic() > until:
            raise RuntimeError(f"{len(selector.get_map())} streams have not ended")
        for key, _ in selector.select(timeout=0.5):
            sock, tokens = key.fileobj, key.data
            assert isinstance(sock, socket.socket)
            assert isinstance(tokens, Tokens)
            data = sock.recv(262_144)
            now_us = time.time_ns() // 1000
            latencies += [(now_us - due_us) / 1000 for due_us in tokens.add(data) if due_us > from_us]
            if not data and tokens.count < count:
                raise RuntimeError(f"{tokens.count} tokens of {count}")
            if tokens.count == count:
                selector.unregister(sock)
                sock.close()
    return latencies


def _both(values: list[float]) -> str:
    return f"{_at(values, 0.5):.2f} / {_at(values, 0.99):.2f}"


def _more(mine: list[float], theirs: list[float]) -> str:
    return " / ".join(f"{_at(mine, q) - _at(theirs, q):.2f}" for q in (0.5, 0.99))


def _at(values: list[float], q: float) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[round(q * 100) - 1]


if __name__ == "__main__":
    os.chdir(ROOT)
    main()
