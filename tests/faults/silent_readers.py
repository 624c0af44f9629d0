"""Clients that ask for much and take nothing of the answer, on every route that answers much."""

from __future__ import annotations

import json
import random
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from spool.batches.line import job_id_of
from spool.files.file import new_file_id
from tests.by_hand import HandWorker
from tests.faults.checker import PREFIX
from tests.faults.jobs import Jobs
from tests.faults.wire import TEXT, client_frame, request_head, upgrade_headers
from tests.stack import Stack, wait_for
from web.openai.batch_resource import OUTPUT, file_id_of

ANSWER_BYTES = 1_100_000
_PIECE_BYTES = 1000
_PIECES_AT_ONCE = 50
BATCH_JOBS = 20


@dataclass(frozen=True)
class Request:
    """One request, without its ``Host``; ``first`` is what follows once the connection is a WebSocket."""

    path: str
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    first: bytes = b""

    def encode(self, host: str) -> bytes:
        """Its bytes."""
        headers = dict(self.headers)
        if self.body:
            headers |= {"Content-Type": "application/json", "Content-Length": str(len(self.body))}
        return request_head(self.path, host, headers).replace(b"GET", self.method.encode(), 1) + self.body


def speak(hand: HandWorker, job: str) -> None:
    """The job says 1.1 MB, a thousand bytes at a time, and ends."""
    claim = hand.take_job(job)
    pieces = ["x" * _PIECE_BYTES] * (ANSWER_BYTES // _PIECE_BYTES)
    for start in range(0, len(pieces), _PIECES_AT_ONCE):
        hand.say(claim, *pieces[start : start + _PIECES_AT_ONCE])
    hand.finish(claim)


def spoken_job(stack: Stack) -> str:
    """A job that has ended, with an answer of 1.1 MB."""
    job = Jobs(stack).submit("much")
    speak(HandWorker(stack.redis.link, lease_s=300), job)
    return job


def _stream(accept: str) -> Callable[[Stack], Request]:
    return lambda stack: Request(f"/jobs/{spoken_job(stack)}/stream", headers={"Accept": accept})


def _of_job(path: str, method: str = "GET") -> Callable[[Stack], Request]:
    return lambda stack: Request(path.format(job=spoken_job(stack)), method)


def _websocket(stack: Stack) -> Request:
    """A socket of one job."""
    return Request(f"/jobs/{spoken_job(stack)}/ws", headers=upgrade_headers())


def _websocket_many(stack: Stack) -> Request:
    """A socket of five."""
    jobs = [spoken_job(stack) for _ in range(5)]
    follow = b"".join(client_frame(TEXT, json.dumps({"type": "follow", "job": job}).encode()) for job in jobs)
    return Request("/ws", headers=upgrade_headers(), first=follow)


def _of_batch(path: str, **headers: str) -> Callable[[Stack], Request]:
    return lambda stack: Request(path.format(batch=_batch(stack)), headers=headers)


def _output(stack: Stack) -> Request:
    return Request(f"/v1/files/{file_id_of(_batch(stack), OUTPUT)}/content")


def _batch(stack: Stack) -> str:
    """A batch of 20 jobs that have ended."""
    client, hand = stack.client(), HandWorker(stack.redis.link, lease_s=300)
    batch = client.post("/batches", json=[{"prompt": f"{n}"} for n in range(BATCH_JOBS)]).json()["id"]
    for number in range(BATCH_JOBS):
        speak(hand, job_id_of(batch, number))
    return batch


def _replayed(path: str, body: Mapping[str, object], headers: Mapping[str, str]) -> Callable[[Stack], Request]:
    """A submit that is repeated under its key: each is answered with the one job's answer."""

    def prepare(stack: Stack) -> Request:
        request = Request(path, "POST", {**headers, "Idempotency-Key": "once"}, json.dumps(body).encode())
        with socket.create_connection(("127.0.0.1", stack.webs[0].port)) as first:
            first.sendall(request.encode(f"127.0.0.1:{stack.webs[0].port}"))
            hand = HandWorker(stack.redis.link, lease_s=300)
            job = _only_job(stack)
            speak(hand, job)
        return request

    return prepare


def _only_job(stack: Stack) -> str:
    link = stack.redis.link
    pending = wait_for(lambda: link.call("ZRANGE", "spool:{0}:pending:demo", 0, -1), "the job is queued")
    return str(pending[0].decode())


def _listing(stack: Stack) -> Request:
    metadata = {f"{n:02d}" + "k" * 62: "v" * 512 for n in range(16)}
    bodies = [{"prompt": "x", "metadata": metadata} for _ in range(200)]
    for start in range(0, len(bodies), 100):
        assert stack.client().post("/batches", json=bodies[start : start + 100], timeout=60).status_code == 202
    return Request("/jobs?limit=200")


def file_records(stack: Stack, count: int = 3000) -> Request:
    """So many uploads, each with a long name; and their list."""
    link, now_ms = stack.redis.link, int(time.time() * 1000)
    for start in range(0, count, 1000):
        ids = [new_file_id(now_ms + start + n) for n in range(1000)]
        records = [_file_record(file_id, now_ms) for file_id in ids]
        commands = [("HSET", f"{PREFIX}file:{record['id']}", *_flat(record)) for record in records]
        link.pipeline([*commands, ("ZADD", f"{PREFIX}files:anonymous", *(part for each in ids for part in (0, each)))])
    return Request("/v1/files")


def _file_record(file_id: str, now_ms: int) -> dict[str, object]:
    times = {"created_ms": now_ms, "expires_ms": now_ms + 10**8}
    named = {"owner": "anonymous", "filename": "n" * 255, "purpose": "user_data", "place": "redis", "status": "ready"}
    return {"id": file_id, "bytes": 1, **times, **named}


def _flat(record: Mapping[str, object]) -> list[object]:
    return [part for pair in record.items() for part in pair]


def usage_rows(stack: Stack, count: int = 3000) -> Request:
    """So many rows of usage."""
    today = datetime.now(UTC).date()
    rows = {f"{today:%d} credential-{n} model-{n}": f"{n} {n} 1 1 0 1000" for n in range(count)}
    stack.redis.link.call("HSET", f"{PREFIX}usage:anonymous:{today:%Y-%m}", *_flat(rows))
    return Request("/usage?group=day,model,owner,credential")


def conversation(stack: Stack) -> Request:
    """A conversation of as many items as fit."""
    client = stack.client()
    name = client.post("/v1/conversations", json={}).json()["id"]
    items = [{"role": "user", "content": "x" * 200} for _ in range(20)]
    while client.post(f"/v1/conversations/{name}/items", json={"items": items}).status_code == 200:
        pass
    # Answered whole before it is read, so it is closed at once.
    return Request(f"/v1/conversations/{name}/items?limit=100", headers={"Connection": "close"})


def _uploaded(stack: Stack, **headers: str) -> Request:
    """A file of 4 MB."""
    files = {"file": ("a", random.Random(1).randbytes(4_000_000))}
    file = stack.client().post("/v1/files", files=files, data={"purpose": "user_data"}).json()
    return Request(f"/v1/files/{file['id']}/content", headers=headers)


def _input_items(stack: Stack) -> Request:
    job = Jobs(stack).submit("x" * 1_000_000)
    return Request(f"/v1/responses/resp_{job}/input_items")


_CHAT = {"model": "demo", "messages": [{"role": "user", "content": "much"}]}
_RESPONSE = {"model": "demo", "input": "much"}

ROUTES: Mapping[str, Callable[[Stack], Request]] = {
    "GET /jobs/{id}": _of_job("/jobs/{job}"),
    "POST /jobs/{id}/cancel": _of_job("/jobs/{job}/cancel", "POST"),
    "GET /jobs/{id}/entries": _of_job("/jobs/{job}/entries?limit=1000"),
    "SSE": _stream("text/event-stream"),
    "NDJSON": _stream("application/x-ndjson"),
    "text": _stream("text/plain"),
    "GET /jobs/{id}/ws": _websocket,
    "GET /ws": _websocket_many,
    "GET /batches/{id}/results": _of_batch("/batches/{batch}/results"),
    "GET /batches/{id}/stream": _of_batch("/batches/{batch}/stream?after=0", Accept="text/event-stream"),
    "GET /batches/{id}/entries": _of_batch("/batches/{batch}/entries?limit=1000"),
    "GET /v1/files/{id}/content": _output,
    "POST /jobs, Prefer: wait": _replayed("/jobs", {"prompt": "much"}, {"Prefer": "wait=30"}),
    "GET /v1/responses/{id}": _of_job("/v1/responses/resp_{job}"),
    "GET /v1/responses/{id}?stream=true": _of_job("/v1/responses/resp_{job}?stream=true"),
    "POST /v1/responses": _replayed("/v1/responses", _RESPONSE, {}),
    "POST /v1/chat/completions": _replayed("/v1/chat/completions", _CHAT, {}),
    "POST /v1/chat/completions, stream": _replayed("/v1/chat/completions", {**_CHAT, "stream": True}, {}),
    "GET /jobs": _listing,
    "GET /v1/responses/{id}/input_items": _input_items,
    "GET /v1/conversations/{id}/items": conversation,
    "GET /v1/files": file_records,
    "GET /v1/files/{id}/content, an upload": _uploaded,
    "GET /v1/files/{id}/content, a range": lambda stack: _uploaded(stack, Range="bytes=1-3999998"),
    "GET /usage": usage_rows,
    "GET /docs/{picture}": lambda _stack: Request("/docs/images/board.png"),
}
"""Each makes what it needs in the stack, and gives the request that is then repeated."""


def ask(port: int, request: Request) -> socket.socket:
    """Send the request, and read nothing of the answer but a WebSocket's head."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.settimeout(30)
    sock.connect(("127.0.0.1", port))
    sock.sendall(request.encode(f"127.0.0.1:{port}"))
    if request.first:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += sock.recv(1)
        sock.sendall(request.first)
    return sock
