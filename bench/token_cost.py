"""CPU of a web for each token that it delivers, on every surface: ``python -m bench.token_cost [SURFACE …]``.

Each round has the surfaces in turn, on one stack: many jobs of the demo, one reader each. The CPU is counted while all
of them run.
"""

from __future__ import annotations

import argparse
import itertools
import json
import selectors
import socket
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from bench.idle import UPGRADE, get
from bench.processes import cpu_s
from rig.stack import Stack, running_stack

_SETTLE_S = 2.0
_LIFE_S = 300.0
_MESSAGE = {"id": "m", "role": "user", "parts": [{"type": "text", "text": "x"}]}
_chats = itertools.count()

Body = Mapping[str, object]
Request = Callable[[Stack, str, Body], bytes]


def _post(path: str, body: Callable[[Body], Body]) -> Request:
    """A submit that streams."""

    def request(_stack: Stack, host: str, params: Body) -> bytes:
        data = json.dumps(body(params)).encode()
        lines = (f"Host: {host}", "Content-Type: application/json", f"Content-Length: {len(data)}")
        return "\r\n".join((f"POST {path} HTTP/1.1", *lines, "", "")).encode() + data

    return request


def _chat_of_ai_sdk(params: Body) -> Body:
    # The same chat again would be a reader of the same job.
    return {"id": f"c{next(_chats)}", "messages": [_MESSAGE], "params": params}


def _of_job(suffix: str, headers: Mapping[str, str]) -> Request:
    def request(stack: Stack, host: str, params: Body) -> bytes:
        job = stack.client().post("/jobs", json={"prompt": "x", "params": params}).json()["id"]
        return get(f"/jobs/{job}/{suffix}", host, headers)

    return request


SURFACES: Mapping[str, Request] = {
    "SSE": _of_job("stream", {"Accept": "text/event-stream"}),
    "NDJSON": _of_job("stream", {"Accept": "application/x-ndjson"}),
    "text": _of_job("stream", {"Accept": "text/plain"}),
    "WebSocket": _of_job("ws", UPGRADE),
    "responses": _post("/v1/responses", lambda params: {"model": "demo", "input": "x", "stream": True, **params}),
    "chat": _post(
        "/v1/chat/completions",
        lambda params: {"model": "demo", "stream": True, "messages": [{"role": "user", "content": "x"}], **params},
    ),
    "AI-SDK": _post("/ai/chat", _chat_of_ai_sdk),
}


def token_us(stack: Stack, surface: str, jobs: int, rate: float, seconds: float) -> float:
    """Microseconds of the web's CPU for each token of these jobs."""
    web = stack.webs[0]
    host = f"127.0.0.1:{web.port}"
    # The jobs outlive the measurement: their submits and ends do not count.
    params = {"tokens": int(rate * _LIFE_S), "rate": rate}
    socks = []
    with selectors.DefaultSelector() as selector:
        for _ in range(jobs):
            sock = socket.create_connection(("127.0.0.1", web.port))
            sock.sendall(SURFACES[surface](stack, host, params))
            sock.setblocking(False)
            selector.register(sock, selectors.EVENT_READ)
            socks.append(sock)
        _drain(selector, _SETTLE_S)
        before, began = cpu_s(web.pid), time.monotonic()
        _drain(selector, seconds)
        used, took_s = cpu_s(web.pid) - before, time.monotonic() - began
    for sock in socks:
        sock.close()
    return used / (jobs * rate * took_s) * 1e6


def _drain(selector: selectors.BaseSelector, seconds: float) -> None:
    until = time.monotonic() + seconds
    while (left_s := until - time.monotonic()) > 0:
        for key, _events in selector.select(left_s):
            sock = key.fileobj
            if isinstance(sock, socket.socket) and not sock.recv(1 << 20):
                raise RuntimeError("a stream ended too early")


def _cancel_all(stack: Stack) -> None:
    client = stack.client()
    while running := client.get("/jobs", params={"status": "running", "limit": 200}).json()["jobs"]:
        for job in running:
            client.post(f"/jobs/{job['id']}/cancel")
        time.sleep(_SETTLE_S)


def main() -> None:
    """Print the median of the rounds for each surface, and its ratio to the first one's."""
    parser = argparse.ArgumentParser(prog="bench.token_cost", description=__doc__)
    parser.add_argument("surfaces", nargs="*", metavar="SURFACE", help=f"of {', '.join(SURFACES)}")
    parser.add_argument("--jobs", type=int, default=100)
    parser.add_argument("--rate", type=float, default=50)
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    surfaces = asked.surfaces or list(SURFACES)
    found: dict[str, list[float]] = {surface: [] for surface in surfaces}
    with (
        tempfile.TemporaryDirectory(prefix="spool-") as directory,
        running_stack(Path(directory), webs=1, workers=1, concurrency=asked.jobs * 2, MAX_STREAMS=20_000) as stack,
    ):
        stack.wait_ready()
        for _ in range(asked.rounds):
            for surface in surfaces:
                found[surface].append(token_us(stack, surface, asked.jobs, asked.rate, asked.seconds))
                _cancel_all(stack)
    first = statistics.median(found[surfaces[0]])
    for surface, rounds in found.items():
        median = statistics.median(rounds)
        print(f"{surface:<10} {median:6.1f} us  {median / first:4.2f} x  ({min(rounds):.1f} to {max(rounds):.1f})")


if __name__ == "__main__":
    main()
