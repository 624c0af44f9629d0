"""What clients must not send over a WebSocket, and how it closes or answers."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import orjson
import pytest
import websocket

from tests.stack import Stack
from tests.web.conftest import ALICE
from tests.web.problem_shape import stored

TEXT, BINARY, CLOSE = websocket.ABNF.OPCODE_TEXT, websocket.ABNF.OPCODE_BINARY, websocket.ABNF.OPCODE_CLOSE
NOBODYS = "j0-" + "0" * 26
DEEP = "[" * 10_000 + "]" * 10_000

Connect = Callable[[str], websocket.WebSocket]


@pytest.fixture
def connect(guarded: Stack) -> Iterator[Connect]:
    """Opens WebSockets of alice's."""
    opened: list[websocket.WebSocket] = []

    def open_one(path: str) -> websocket.WebSocket:
        url = guarded.webs[0].url.replace("http://", "ws://") + path
        opened.append(websocket.create_connection(url, header={"Authorization": f"Bearer {ALICE}"}, timeout=60))
        return opened[-1]

    yield open_one
    for one in opened:
        one.shutdown()


@pytest.fixture
def job(alice: httpx.Client) -> str:
    """A job that waits."""
    job_id: str = alice.post("/jobs", json={"prompt": "x"}).json()["id"]
    return job_id


def close_code(socket: websocket.WebSocket) -> int:
    """The code with which the server closes, after whatever it sent before."""
    while True:
        opcode, data = socket.recv_data()
        if opcode == CLOSE:
            return int(struct.unpack("!H", data[:2])[0])


def ask(socket: websocket.WebSocket, message: Any) -> Any:
    """Send a message to ``/ws``, and the answer."""
    socket.send(message if isinstance(message, str) else orjson.dumps(message).decode())
    return json.loads(socket.recv())


@contextmanager
def unchanged(stack: Stack) -> Iterator[None]:
    """Nothing in Redis changes meanwhile."""
    before = stored(stack.redis.link)
    yield
    assert stored(stack.redis.link) == before


@pytest.mark.parametrize("many", [False, True], ids=["one job", "many jobs"])
@pytest.mark.parametrize(
    ("opcode", "payload", "code"),
    [
        (BINARY, b"\x00", 1003),
        (BINARY, b'{"type":"cancel"}', 1003),
        (TEXT, b"", 1007),
        (TEXT, b"cancel", 1007),
        (TEXT, b'{"type":"cancel"', 1007),
        (TEXT, b"[]", 1007),
        (TEXT, b"null", 1007),
        (TEXT, b'"cancel"', 1007),
        (TEXT, b'{"type":NaN}', 1007),
        (TEXT, b'{"type":"\\ud800"}', 1007),
        (TEXT, DEEP.encode(), 1007),
        (TEXT, b'{"type":"\xff\xfe"}', 1007),
        (TEXT, b"\xed\xa0\x80", 1007),
        (TEXT, b'{"type":"' + b"x" * 70_000 + b'"}', 1009),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_message_that_is_none(
    guarded: Stack, connect: Connect, job: str, many: bool, opcode: int, payload: bytes, code: int
) -> None:
    """What is no JSON object in a text frame of a bounded size closes the connection with the code for it."""
    with unchanged(guarded):
        socket = connect("/ws" if many else f"/jobs/{job}/ws")
        socket.send(payload, opcode=opcode)
        assert close_code(socket) == code


@pytest.mark.parametrize(
    "message",
    [{}, {"type": "applause"}, {"type": 7}, {"type": None}, {"type": ["cancel"]}, {"type": "follow"}, {"cancel": 1}],
    ids=repr,
)
def test_message_unknown_on_one_job(guarded: Stack, connect: Connect, job: str, message: Any) -> None:
    """A single-job socket takes one message, and closes on any other."""
    with unchanged(guarded):
        socket = connect(f"/jobs/{job}/ws")
        socket.send(json.dumps(message))
        assert close_code(socket) == 1008


def test_message_cancel_on_one_job(connect: Connect, job: str, alice: httpx.Client) -> None:
    """The one message that it takes cancels the job, and the log's end closes the socket."""
    socket = connect(f"/jobs/{job}/ws")
    socket.send('{"type":"cancel"}')
    assert json.loads(socket.recv())["kind"] == "cancelled"
    assert close_code(socket) == 1000
    assert alice.get(f"/jobs/{job}").json()["status"] == "cancelled"


@pytest.mark.parametrize(
    ("message", "status", "field"),
    [
        ({}, 422, "type"),
        ({"type": "applause"}, 422, "type"),
        ({"type": None}, 422, "type"),
        ({"type": ["submit"]}, 422, "type"),
        ({"type": "follow"}, 422, "job"),
        ({"type": "follow", "job": 7}, 422, "job"),
        ({"type": "follow", "job": None, "after": 0}, 422, "job"),
        ({"type": "follow", "job": NOBODYS, "after": -1001}, 422, "after"),
        ({"type": "follow", "job": NOBODYS, "after": "0"}, 422, "after"),
        ({"type": "follow", "job": NOBODYS, "after": True}, 422, "after"),
        ({"type": "follow", "job": NOBODYS, "after": 1.5}, 422, "after"),
        ({"type": "follow", "job": NOBODYS, "after": None}, 422, "after"),
        ({"type": "follow", "job": NOBODYS, "after": 10**18}, 422, "after"),
        ({"type": "follow", "job": NOBODYS}, 404, None),
        ({"type": "follow", "job": "x" * 1000}, 404, None),
        ({"type": "follow", "job": "j0-\x00"}, 404, None),
        ({"type": "cancel", "job": NOBODYS}, 404, None),
        ({"type": "cancel"}, 422, "job"),
        ({"type": "unfollow", "job": 7}, 422, "job"),
        ({"type": "submit"}, 422, "body"),
        ({"type": "submit", "prompt": ""}, 422, "prompt"),
        ({"type": "submit", "prompt": 7}, 422, "prompt"),
        ({"type": "submit", "prompt": "x", "stream": True}, 422, "stream"),
        ({"type": "submit", "prompt": "x", "model": "gpt-99"}, 422, "model"),
        ({"type": "submit", "prompt": "x", "params": {"tokens": -1}}, 422, "params.tokens"),
        ({"type": "submit", "prompt": "x" * 3000}, 413, "prompt"),
        ({"type": "submit", "prompt": "x", "ref": 7}, 202, None),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_message_wrong_on_many_jobs(
    guarded: Stack, connect: Connect, job: str, message: Any, status: int, field: str | None
) -> None:
    """On a socket of many jobs a wrong message is answered by an error like any of the API's, and it goes on."""
    socket = connect("/ws")
    if status == 202:
        assert ask(socket, message)["type"] == "accepted"
        return
    with unchanged(guarded):
        answer = ask(socket, {**message, "ref": "mine"})
        assert (answer["type"], answer["status"], answer["ref"]) == ("error", status, "mine")
        assert answer["problem"].startswith("/docs#")
        assert answer["title"]
        assert answer["detail"]
        if field is not None:
            assert answer["errors"][0]["field"] == field
    socket.send(json.dumps({"type": "follow", "job": job}))
    socket.send(json.dumps({"type": "cancel", "job": job}))
    assert json.loads(socket.recv())["entry"]["kind"] == "cancelled"
    assert json.loads(socket.recv())["type"] == "ended"


@pytest.mark.parametrize("depth", [300, 1000])
@pytest.mark.parametrize(
    "before", ['"messages":[{"role":"user","content":[{"type":"x","deep":', '"prompt":"x","priority":']
)
def test_message_nested_too_deeply_to_be_stored(guarded: Stack, connect: Connect, before: str, depth: int) -> None:
    """A submit that is nested too deeply is refused by a message, and not by the end of the connection."""
    after = "}]}]}" if before.startswith('"messages') else "}"
    message = '{"type":"submit",' + before + "[" * depth + "]" * depth + after
    with unchanged(guarded):
        answer = ask(connect("/ws"), message)
        assert (answer["type"], answer["status"], answer["errors"][0]["field"]) == ("error", 422, "body")


def test_another_owners_job_on_many_jobs(connect: Connect, bob: httpx.Client) -> None:
    """Another owner's job is answered as one that never was, and stays as it is."""
    theirs = bob.post("/jobs", json={"prompt": "x"}).json()["id"]
    socket = connect("/ws")
    for kind in ("follow", "cancel"):
        answers = [ask(socket, {"type": kind, "job": job_id}) for job_id in (theirs, NOBODYS)]
        for answer in answers:
            del answer["job"]
        assert answers[0] == answers[1]
    assert bob.get(f"/jobs/{theirs}").json()["status"] == "queued"


def test_too_many_jobs_on_one_socket(connect: Connect, alice: httpx.Client) -> None:
    """One socket follows a bounded number of jobs."""
    items = [{"prompt": "x"}] * 20
    batches = [alice.post("/batches", json=items).json()["id"] for _ in range(6)]
    jobs = [one["id"] for batch in batches for one in alice.get("/jobs", params={"batch": batch}).json()["jobs"]]
    socket = connect("/ws")
    for job_id in jobs[:101]:
        socket.send(json.dumps({"type": "follow", "job": job_id}))
    answer = json.loads(socket.recv())
    assert (answer["type"], answer["status"], answer["job"]) == ("error", 429, jobs[100])
    for batch in batches:
        alice.post(f"/batches/{batch}/cancel")
