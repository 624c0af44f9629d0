"""Clients that send too little, too much or nothing: what a whole web answers, and when it closes."""

from __future__ import annotations

import json
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.faults.flooder import closed_by_server, port_answers
from tests.loopback import NO_CERTIFICATES
from tests.stack import Stack, running_stack

HOST = "HTTP/1.1\r\nHost: 127.0.0.1\r\n"
JSON = "Content-Type: application/json\r\n"
UPGRADE = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)


@pytest.fixture(scope="module")
def hasty(short_dir: Path) -> Iterator[Stack]:
    """A web that waits for little, and has few places."""
    directory = Path(tempfile.mkdtemp(prefix="hasty-", dir=short_dir))
    limits = {"HEADERS_S": 0.5, "BODY_S": 0.5, "MAX_STREAMS": 50, "MAX_BODY_BYTES": 65_536}
    with running_stack(directory, webs=1, workers=0, **limits) as running:
        yield running


def connected(stack: Stack, text: str = "") -> socket.socket:
    """A connection on which ``text`` was sent."""
    connection = socket.create_connection(("127.0.0.1", stack.webs[0].port), timeout=10)
    connection.sendall(text.encode("latin-1"))
    return connection


def rest_of(connection: socket.socket) -> bytes:
    """All that comes until the server closes."""
    received = b""
    with suppress(ConnectionResetError):
        while data := connection.recv(65_536):
            received += data
    return received


def answers(received: bytes) -> list[int]:
    """The statuses of all answers."""
    return [int(part[:3]) for part in received.split(b"HTTP/1.1 ")[1:]]


def test_connection_that_says_nothing(hasty: Stack) -> None:
    """It is closed without a word."""
    with connected(hasty) as connection:
        assert rest_of(connection) == b""


@pytest.mark.parametrize("text", [f"GET /livez {HOST}", "GET /", f"POST /v1/responses {HOST}X: "])
def test_headers_that_do_not_come(hasty: Stack, text: str) -> None:
    """They are answered with 408, in the shape of the API that the path belongs to."""
    with connected(hasty, text) as connection:
        received = rest_of(connection)
    assert answers(received) == [408]
    head, _, body = received.partition(b"\r\n\r\n")
    assert b"Connection: close" in head
    if "/v1" in text:
        assert json.loads(body)["error"]["code"] == "request_timeout"
    else:
        assert json.loads(body)["status"] == 408
        assert b"application/problem+json" in head


def test_headers_that_come_a_byte_at_a_time(hasty: Stack) -> None:
    """The time counts for all of them together."""
    with connected(hasty, f"GET /livez {HOST}") as connection:
        connection.settimeout(0.02)
        received = b""
        for _ in range(500):
            with suppress(OSError):
                connection.sendall(b"X")
            with suppress(TimeoutError):
                received = connection.recv(65_536)
                break
    assert answers(received) == [408]


def test_body_that_does_not_come(hasty: Stack) -> None:
    """It is answered with 408, and nothing may follow."""
    with connected(hasty, f'POST /jobs {HOST}{JSON}Content-Length: 100\r\n\r\n{{"prompt"') as connection:
        received = rest_of(connection)
    assert answers(received) == [408]
    assert json.loads(received.partition(b"\r\n\r\n")[2])["title"] == "Request timeout"


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        ("GET /livez", 200),
        ("HEAD /livez", 200),
        ("GET /jobs/nothing", 404),
        ("GET /jobs/nothing/stream", 404),
        ("POST /nothing", 404),
        ("PUT /livez", 405),
        ("POST /jobs", 415),
        ("GET /", 200),
        ("POST /ai/chat", 415),
        ("POST /v1/responses", 415),
    ],
)
@pytest.mark.parametrize("framing", ["Content-Length: 99999999999", "Transfer-Encoding: chunked"])
def test_answer_before_an_endless_body(hasty: Stack, request_line: str, status: int, framing: str) -> None:
    """A route that wants no body answers at once, and the connection closes within bounded time."""
    text = f"{request_line} {HOST}Content-Type: text/plain\r\n{framing}\r\n\r\n"
    with connected(hasty, text) as connection:
        piece = b"1\r\nx\r\n" * 1000
        began = time.monotonic()
        with suppress(OSError):
            while time.monotonic() - began < 20:
                connection.sendall(piece)
        # It could not be sent to for ever.
        assert time.monotonic() - began < 20
        assert set(answers(rest_of(connection))) <= {status}


@pytest.mark.parametrize(
    ("framing", "body"), [("Content-Length: 5", "hello"), ("Transfer-Encoding: chunked", "5\r\nhello\r\n0\r\n\r\n")]
)
def test_request_after_a_small_body_that_was_not_wanted(hasty: Stack, framing: str, body: str) -> None:
    """The body is skipped, and the connection carries the next request."""
    last = f"GET /version {HOST}Connection: close\r\n\r\n"
    with connected(hasty, f"GET /livez {HOST}{framing}\r\n\r\n{body}{last}") as connection:
        received = rest_of(connection)
    assert answers(received) == [200, 200]
    assert b'"name":"spool"' in received


def test_body_that_looks_like_a_request(hasty: Stack) -> None:
    """Nothing of a body is ever served as a request, whether the route wanted it or not."""
    inner = f"GET /version {HOST}\r\n"
    for head in (f"GET /livez {HOST}", f"GET /jobs/x/stream {HOST}", f"GET /ws {HOST}{UPGRADE}"):
        for length in (len(inner), 999_999):
            with connected(hasty, f"{head}Content-Length: {length}\r\n\r\n{inner}") as connection:
                connection.shutdown(socket.SHUT_WR)
                assert len(answers(rest_of(connection))) == 1


def test_client_that_waits_for_100_continue(hasty: Stack) -> None:
    """It is asked for a body that is wanted; for one that is not it gets the answer alone."""
    expects = "Expect: 100-continue\r\n"
    body = '{"prompt": "x"}'
    with connected(hasty, f"POST /jobs {HOST}{JSON}{expects}Content-Length: {len(body)}\r\n\r\n") as connection:
        assert connection.recv(65_536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body.encode())
        assert answers(connection.recv(65_536)) == [202]
    with connected(hasty, f"POST /nothing {HOST}{JSON}{expects}Content-Length: 15\r\n\r\n") as connection:
        assert answers(rest_of(connection)) == [404]


def test_websocket_with_a_body(hasty: Stack) -> None:
    """It is refused: its bytes would be taken for frames."""
    with connected(hasty, f"GET /ws {HOST}{UPGRADE}Content-Length: 999999\r\n\r\nxxxx") as connection:
        assert answers(rest_of(connection)) == [400]


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("GET / HTTP/9.9\r\n\r\n", 400),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        ("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n", 400),
        (f"GET /v1/models {HOST}X Y: z\r\n\r\n", 400),
        (f"GET /v1/models {HOST}" + "A: b\r\n" * 200 + "\r\n", 431),
        (f"GET /livez {HOST}A: " + "x" * 9000 + "\r\n\r\n", 431),
        (f"GET /livez {HOST}" + ("A: " + "x" * 8000 + "\r\n") * 20, 431),
        ("GET /" + "x" * 9000 + " HTTP/1.1\r\n\r\n", 414),
        (f"GET /livez {HOST}Expect: rain\r\n\r\n", 417),
        (f"POST /jobs {HOST}Transfer-Encoding: brotli\r\n\r\n", 501),
    ],
    ids=range(10),
)
def test_request_that_never_reaches_the_application(hasty: Stack, text: str, status: int) -> None:
    """Its error has the shape of the API that its path belongs to."""
    with connected(hasty, text) as connection:
        received = rest_of(connection)
    assert answers(received) == [status]
    document = json.loads(received.partition(b"\r\n\r\n")[2])
    if "/v1" in text:
        assert document["error"]["message"]
    else:
        assert document["status"] == status
        assert document["detail"]


def test_script_name_of_a_client(hasty: Stack) -> None:
    """Such a header changes no path."""
    with hasty.client() as client:
        for name in ("SCRIPT_NAME", "PATH_INFO"):
            assert client.get("/livez", headers={name: "/x"}).json() == {"status": "ok"}


def test_requests_without_end_on_one_connection(hasty: Stack) -> None:
    """They are answered in order, and another client is answered meanwhile."""
    with connected(hasty, f"GET /livez {HOST}\r\n" * 300) as connection:
        assert port_answers(hasty.webs[0].port) < 5
        received = b""
        while len(answers(received)) < 300:
            received += connection.recv(65_536)
    assert set(answers(received)) == {200}


def test_web_that_stops_with_kept_connections(directory: Path) -> None:
    """Connections without a request hold it up for moments, and not for as long as its streams may take."""
    with running_stack(directory, webs=1, workers=0, DRAIN_S=60) as stack:
        kept = [connected(stack, f"GET /livez {HOST}\r\n") for _ in range(3)]
        assert all(answers(one.recv(65_536)) == [200] for one in kept)
        silent = connected(stack)
        assert stack.webs[0].stop(30) == 0
        closed_by_server([*kept, silent], 5)
        for one in (*kept, silent):
            one.close()
        assert "Traceback" not in stack.webs[0].output.read_text()


def test_more_connections_than_there_are_places(hasty: Stack) -> None:
    """However many are open and say nothing, begin a request or are kept: a new client is answered at once, and those
    that were waiting longest have been closed for it."""
    port = hasty.webs[0].port
    kept = httpx.Client(base_url=hasty.webs[0].url, verify=NO_CERTIFICATES)
    with kept:
        for text in ("", f"GET /livez {HOST}\r\n"):
            opened: list[socket.socket] = []
            try:
                for number in range(1200):
                    opened.append(connected(hasty, text))
                    if number % 100 == 0:
                        assert port_answers(port) < 5
                assert port_answers(port) < 5
                assert kept.get("/livez").status_code == 200
                closed_by_server(opened[:100], 10)
            finally:
                for connection in opened:
                    connection.close()
