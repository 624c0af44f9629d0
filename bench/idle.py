"""KB of a web's memory for each idle stream of one job, on every surface: ``python -m bench.idle [SURFACE …]``."""

from __future__ import annotations

import base64
import json
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from bench.processes import pss_kb
from rig.stack import Stack, running_stack

STREAMS = 1000
WARM = 200
"""Streams opened before, so that what a process needs once does not count."""
_AT_ONCE = 20
_SETTLE_S = 2.0
_PARAMS = {"tokens": 5, "first_token_s": 3600}
_MESSAGE = {"id": "m", "role": "user", "parts": [{"type": "text", "text": "x"}]}

UPGRADE: Mapping[str, str] = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": base64.b64encode(bytes(16)).decode(),
}
"""The headers that open a WebSocket."""

Request = Callable[[Stack, str], bytes]


def _post(path: str, body: Mapping[str, object]) -> Request:
    """A submit under one Idempotency-Key: each repetition streams the one job."""
    data = json.dumps(body).encode()
    lines = ("Content-Type: application/json", f"Content-Length: {len(data)}", "Idempotency-Key: one")
    return lambda _stack, host: "\r\n".join((f"POST {path} HTTP/1.1", f"Host: {host}", *lines, "", "")).encode() + data


def get(path: str, host: str, headers: Mapping[str, str]) -> bytes:
    """The bytes of a GET request."""
    lines = [f"GET {path} HTTP/1.1", f"Host: {host}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode()


def _job(stack: Stack) -> str:
    return str(stack.client().post("/jobs", json={"prompt": "x", "params": _PARAMS}).json()["id"])


def _stream(accept: str) -> Request:
    return lambda stack, host: get(f"/jobs/{_job(stack)}/stream", host, {"Accept": accept})


def _response(stack: Stack, host: str) -> bytes:
    body = {"model": "demo", "input": "x", "background": True, **_PARAMS}
    answer = stack.client().post("/v1/responses", json=body).json()
    return get(f"/v1/responses/{answer['id']}?stream=true", host, {})


SURFACES: Mapping[str, Request] = {
    "SSE": _stream("text/event-stream"),
    "NDJSON": _stream("application/x-ndjson"),
    "text": _stream("text/plain"),
    "WebSocket": lambda stack, host: get(f"/jobs/{_job(stack)}/ws", host, UPGRADE),
    "responses": _response,
    "chat": _post(
        "/v1/chat/completions",
        {"model": "demo", "stream": True, "messages": [{"role": "user", "content": "x"}], **_PARAMS},
    ),
    "AI-SDK": _post("/ai/chat", {"id": "c", "messages": [_MESSAGE], "params": _PARAMS}),
}


def idle_kb(surface: str) -> float:
    """KB of proportional memory for each idle stream."""
    with (
        tempfile.TemporaryDirectory(prefix="spool-") as directory,
        running_stack(Path(directory), webs=1, workers=1, MAX_STREAMS=20_000) as stack,
    ):
        stack.wait_ready()
        web = stack.webs[0]
        request = SURFACES[surface](stack, f"127.0.0.1:{web.port}")
        socks = _opened(web.port, request, WARM)
        before = _pss_kb(web.pid)
        socks += _opened(web.port, request, STREAMS)
        grown = _pss_kb(web.pid) - before
        for sock in socks:
            sock.close()
    return grown / STREAMS


def _opened(port: int, request: bytes, count: int) -> list[socket.socket]:
    """So many streams. Some at a time, because on some surfaces the head waits for the first heartbeat; few, because
    requests take memory that streams do not need."""
    socks: list[socket.socket] = []
    while len(socks) < count:
        wave = [socket.create_connection(("127.0.0.1", port)) for _ in range(_AT_ONCE)]
        for sock in wave:
            sock.sendall(request)
        for sock in wave:
            answer = sock.recv(4096)
            if answer[9:12] not in (b"200", b"101"):
                raise RuntimeError(f"an idle stream was answered with {answer[:60]!r}")
        socks += wave
    return socks


def _pss_kb(pid: int) -> float:
    time.sleep(_SETTLE_S)
    return float(pss_kb(pid))


def main() -> None:
    """Print a line for each surface."""
    for surface in sys.argv[1:] or SURFACES:
        print(f"{surface:<10} {idle_kb(surface):5.1f} KB", flush=True)


if __name__ == "__main__":
    main()
