"""The WebSocket on ``/v1/responses``: the same responses as over HTTP, one after the other."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import gevent
import pytest
import websocket

from spool.access.caller import ANONYMOUS
from tests.compatible.applications import run
from tests.stack import Stack
from web.openai.response_socket import ResponseSession, event_frames
from web.server.websocket_frames import text_frame
from web.server.websocket_protocol import Closed

CONNECT = Path(__file__).with_name("apps") / "openai_socket.py"
FAST = {"model": "demo", "rate": 0, "first_token_s": 0}
ENDS = {"response.completed", "response.incomplete", "response.failed", "error"}
UNKNOWN = "resp_j0-" + "0" * 26


@pytest.fixture
def socket(stack: Stack) -> Iterator[websocket.WebSocket]:
    """A socket at the first web."""
    one = websocket.create_connection(url_of(stack), timeout=30)
    yield one
    one.shutdown()


def url_of(stack: Stack) -> str:
    """The socket's URL."""
    return stack.webs[0].url.replace("http://", "ws://") + "/v1/responses"


def send(socket: websocket.WebSocket, **fields: Any) -> None:
    """Ask for a response."""
    socket.send(json.dumps({"type": "response.create", **FAST, **fields}))


def until_end(socket: websocket.WebSocket) -> list[dict[str, Any]]:
    """The events up to the end of a response, or to an error."""
    events: list[dict[str, Any]] = []
    while not events or events[-1]["type"] not in ENDS:
        events.append(json.loads(socket.recv()))
    return events


def test_events_are_those_of_http(socket: websocket.WebSocket, stack: Stack) -> None:
    """A response's events have the same bytes and numbers as its stream over HTTP from another web."""
    send(socket, input="Hello", tokens=20)
    events = until_end(socket)
    response_id = events[0]["response"]["id"]
    with stack.client(1) as http:
        stream = http.get(f"/v1/responses/{response_id}", params={"stream": "true"}).text
    lines = [line.removeprefix("data: ") for line in stream.splitlines() if line.startswith("data: ")]
    assert events == [json.loads(line) for line in lines if line != "[DONE]"]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))


def test_responses_follow_one_another(socket: websocket.WebSocket) -> None:
    """Messages that come early wait; a response can continue another one of the same socket."""
    send(socket, input="First", tokens=3)
    first = until_end(socket)[-1]["response"]
    send(socket, input="Second", tokens=3, previous_response_id=first["id"])
    send(socket, input="Third", max_output_tokens=2)
    second, third = until_end(socket), until_end(socket)
    assert (second[0]["type"], second[0]["response"]["previous_response_id"]) == ("response.created", first["id"])
    assert (third[0]["type"], third[0]["sequence_number"]) == ("response.created", 0)
    assert len({first["id"], second[-1]["response"]["id"], third[-1]["response"]["id"]}) == 3


@pytest.mark.parametrize(
    ("message", "status", "code", "param"),
    [
        ({"type": "response.steer"}, 400, "invalid_input", "type"),
        ({"type": "response.create", "model": "demo"}, 400, "invalid_input", "input"),
        ({"type": "response.create", "model": "none", "input": "x"}, 404, "model_not_found", "model"),
        ({"type": "response.create", "input": "x", "generate": False}, 400, "invalid_input", "generate"),
        (
            {"type": "response.create", "input": "x", "previous_response_id": UNKNOWN},
            404,
            "previous_response_not_found",
            "previous_response_id",
        ),
    ],
    ids=["type", "no input", "model", "generate", "previous"],
)
def test_wrong_message(
    socket: websocket.WebSocket, message: dict[str, Any], status: int, code: str, param: str
) -> None:
    """A message that is wrong gets an error with the status and code of HTTP, and the socket goes on."""
    socket.send(json.dumps(message))
    (error,) = until_end(socket)
    assert (error["type"], error["status"], error["error"]["code"], error["error"]["param"]) == (
        "error",
        status,
        code,
        param,
    )
    send(socket, input="Hi", tokens=1)
    assert until_end(socket)[-1]["type"] == "response.incomplete"


def test_failed_job_is_a_failed_response(socket: websocket.WebSocket) -> None:
    """A job that fails ends its response, and not the socket."""
    send(socket, input="Hi", fail_after=2)
    end = until_end(socket)[-1]
    assert end["type"] == "response.failed"
    send(socket, input="Hi", tokens=1)
    assert until_end(socket)[0]["type"] == "response.created"


def test_message_that_is_no_json(socket: websocket.WebSocket) -> None:
    """What is no JSON object closes the socket with 1007."""
    socket.send("hello")
    opcode, data = socket.recv_data()
    assert (opcode, struct.unpack("!H", data[:2])[0]) == (websocket.ABNF.OPCODE_CLOSE, 1007)


def test_foreign_page(stack: Stack) -> None:
    """A page of another origin is refused before the upgrade, in OpenAI's shape."""
    with pytest.raises(websocket.WebSocketBadStatusException) as caught:
        websocket.create_connection(url_of(stack), origin="http://evil.example", timeout=30)
    assert caught.value.status_code == 403
    assert json.loads(caught.value.resp_body)["error"]["type"] == "invalid_request_error"


def test_job_continues_without_its_client(stack: Stack) -> None:
    """The job of a client that leaves in the middle is complete, and can be read over HTTP."""
    one = websocket.create_connection(url_of(stack), timeout=30)
    send(one, input="Hi", tokens=30, rate=100)
    response_id = json.loads(one.recv())["response"]["id"]
    one.shutdown()
    with stack.client(1) as http:
        events = http.get(f"/v1/responses/{response_id}", params={"stream": "true"}).text
    assert "event: response.incomplete\n" in events
    assert events.endswith("data: [DONE]\n\n")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_sdk_connects(stack: Stack) -> None:
    """The official SDK's ``connect()`` gets a response and its continuation."""
    outcomes = json.loads(run(CONNECT, stack.webs[0].url, needs="websockets").stdout)
    assert outcomes == {"connect": None}, outcomes["connect"]


def test_frames_of_events() -> None:
    """Each event is one frame; comments, event names and the end mark are none."""
    data = b': ping\nevent: a\ndata: {"type":"a"}\n\nevent: b\ndata: {"type":"b"}\n\ndata: [DONE]\n\n'
    assert event_frames(data) == text_frame(b'{"type":"a"}') + text_frame(b'{"type":"b"}')
    assert event_frames(b": ping\n") == b""


class _Socket:
    """A socket that notes what its session does."""

    def __init__(self) -> None:
        self.kept: list[int] = []
        self.closed: list[int] = []

    def watch(self, on_gone: Callable[[], object]) -> None:
        """Ignore it: this socket stays."""

    def keep(self, size: int) -> None:
        """Note the size."""
        self.kept.append(size)

    def close_with(self, code: int, _reason: str) -> None:
        """Note the code."""
        self.closed.append(code)


def test_socket_of_an_instance_that_a_switch_drains() -> None:
    """It closes once no response runs, and a message that waits meanwhile counts as input and begins nothing more."""
    services = SimpleNamespace(
        is_leaving=True, draining=False, spread_s=0.0, authenticator=SimpleNamespace(address=lambda: "")
    )
    socket, session = _Socket(), ResponseSession(cast(Any, services), nullcontext, ANONYMOUS)
    session.begin(cast(Any, socket))
    session.tick(0.0)
    session._free.clear()
    session.tick(1.0)
    assert socket.closed == []
    waiting = gevent.spawn(session.message, b"x" * 1000)
    gevent.sleep(0)
    assert socket.kept == [1000]
    session.ended()
    with pytest.raises(Closed, match="draining"):
        waiting.get(timeout=10)
    session.tick(2.0)
    assert (socket.kept, socket.closed) == ([1000, 0], [1001])
