"""How much a WebSocket takes of its client, in what pieces, and what it offers in the handshake."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import httpx
import pytest

from spool.errors import StoreUnavailable, TooManyFolds
from tests.faults.wire import CLOSE, PING, PONG, TEXT, Frames, client_frame, request_head, upgrade_headers
from tests.stack import Stack
from tests.web.conftest import ALICE
from tests.web.problem_shape import stored
from web.delivery.websocket import closed_by
from web.problems import Problem

CONTINUATION = 0
MOST = 65_536
"""Bytes of a message on ``/ws`` of the guarded web, as of a body."""


class Client:
    """A WebSocket by hand: what is sent is exactly what a test says."""

    def __init__(self, sock: socket.socket, head: bytes) -> None:
        self.sock = sock
        self.head = head
        self._frames = Frames()
        self._got: list[tuple[int, bytes]] = []

    @property
    def status(self) -> int:
        """The status of the handshake's answer."""
        return int(self.head.split(b" ", 2)[1])

    def send(self, *frames: bytes) -> None:
        """Send frames."""
        self.sock.sendall(b"".join(frames))

    def next(self) -> tuple[int, bytes]:
        """The next frame."""
        while not self._got:
            data = self.sock.recv(65_536)
            assert data, "the connection ended without a frame"
            self._got = self._frames.feed(data)
        return self._got.pop(0)

    def message(self) -> dict[str, object]:
        """The next message."""
        opcode, payload = self.next()
        assert opcode == TEXT, (opcode, payload)
        found: dict[str, object] = json.loads(payload)
        return found

    def message_of(self, *types: str) -> dict[str, object]:
        """The next message of one of these types; others, such as where a job waits, come in between."""
        while (found := self.message())["type"] not in types:
            pass
        return found

    def close_code(self) -> int:
        """The code with which the server closes, after whatever it sent before."""
        while True:
            opcode, payload = self.next()
            if opcode == CLOSE:
                return int.from_bytes(payload[:2])


@contextmanager
def connected(stack: Stack, path: str = "/ws", **more: str) -> Iterator[Client]:
    """A client of alice's; ``more`` are headers, with ``_`` for ``-``."""
    web = stack.webs[0]
    headers = {**upgrade_headers(), "Authorization": f"Bearer {ALICE}"}
    headers.update({name.replace("_", "-"): value for name, value in more.items()})
    with socket.create_connection(("127.0.0.1", web.port), timeout=10) as sock:
        sock.sendall(request_head(path, f"127.0.0.1:{web.port}", headers))
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            byte = sock.recv(1)
            assert byte, head
            head += byte
        yield Client(sock, head)


def part(opcode: int, payload: bytes, *, last: bool = False) -> bytes:
    """A frame of a message that has several."""
    whole = client_frame(opcode, payload)
    return whole if last else bytes((whole[0] & 0x7F,)) + whole[1:]


@pytest.mark.parametrize(
    "offer",
    [
        "permessage-deflate",
        "permessage-deflate; client_max_window_bits",
        "permessage-deflate; client_max_window_bits=x",
        "permessage-deflate; server_max_window_bits=99",
        "permessage-deflate; client_max_window_bits=",
        "x" * 7000,
        ", ".join(["permessage-deflate"] * 300),
        '; =",,',
    ],
    ids=lambda offer: offer[:50],
)
def test_extensions_are_not_taken(guarded: Stack, offer: str) -> None:
    """Whatever extensions a client offers, it gets a WebSocket without any."""
    with connected(guarded, Sec_WebSocket_Extensions=offer) as client:
        assert client.status == 101
        assert b"extensions" not in client.head.lower()
        client.send(client_frame(TEXT, b'{"type":"applause"}'))
        assert client.message()["status"] == 422


def test_compressed_frame(guarded: Stack) -> None:
    """A frame that is compressed all the same breaks the protocol, and is not inflated."""
    with connected(guarded, Sec_WebSocket_Extensions="permessage-deflate") as client:
        frame = client_frame(TEXT, b"\xaa\x56\x2a\xa9\x2c\x48\x55\xb2\x52\x4a\x2c\x28\xc8\x49\x4d\x04")
        client.send(bytes((frame[0] | 0x40,)) + frame[1:])
        assert client.close_code() == 1002


@pytest.mark.parametrize(
    ("asked", "chosen"),
    [
        ("spool.text", "spool.text"),
        ("graphql-ws, spool.json", "spool.json"),
        ("graphql-ws", None),
        (",,, ,", None),
        ('"; =', None),
        (",".join(f"p{n}" for n in range(1200)), None),
    ],
    ids=lambda value: str(value)[:30],
)
def test_subprotocols(guarded: Stack, asked: str, chosen: str | None) -> None:
    """The first subprotocol that is known is chosen, and none if none is, whatever else stands there."""
    with connected(guarded, Sec_WebSocket_Protocol=asked) as client:
        assert client.status == 101
        lines = [line for line in client.head.decode().split("\r\n") if line.lower().startswith("sec-websocket-prot")]
        assert [line.split(": ")[1] for line in lines] == ([chosen] if chosen else [])


@pytest.mark.parametrize("header", [{"Host": "a..b"}, {"Origin": "null"}, {"X-Odd": "\xff"}], ids=str)
def test_headers_that_no_handshake_needs(guarded: Stack, header: dict[str, str]) -> None:
    """A header that the handshake does not need never makes it fail with 500."""
    with connected(guarded, **header) as client:
        assert client.status in (101, 400, 403)


def test_message_in_many_fragments(guarded: Stack) -> None:
    """A message may come a byte at a time, with empty fragments and pings in between."""
    with connected(guarded) as client:
        message = b'{"type":"applause"}'
        parts = [part(CONTINUATION, message[n : n + 1]) + part(CONTINUATION, b"") for n in range(1, len(message))]
        client.send(part(TEXT, message[:1]), client_frame(PING, b"x"), *parts, part(CONTINUATION, b"", last=True))
        assert client.next() == (PONG, b"x")
        assert client.message()["status"] == 422


def test_fragments_without_end(guarded: Stack) -> None:
    """A message that grows beyond the limit closes the socket, however small its fragments are."""
    with connected(guarded) as client:
        client.send(part(TEXT, b"x"))
        with suppress(ConnectionError):
            for _ in range(MOST // 1000 + 2):
                client.send(part(CONTINUATION, b"x" * 1000))
        assert client.close_code() == 1009


def test_message_as_large_as_a_body_may_be(guarded: Stack) -> None:
    """A message on a socket of many may be as large as the body of a submit; one byte more closes it."""
    message = b'{"type":"applause"}'.ljust(MOST)
    with connected(guarded) as client:
        client.send(client_frame(TEXT, message[:60_000]), *_large(message))
        assert client.message()["status"] == 422
        assert client.message()["status"] == 422
        client.send(*_large(message + b" "))
        assert client.close_code() == 1009


def _large(message: bytes) -> list[bytes]:
    first, *rest = (message[n : n + 60_000] for n in range(0, len(message), 60_000))
    parts = [part(CONTINUATION, piece) for piece in rest[:-1]]
    return [part(TEXT, first), *parts, part(CONTINUATION, rest[-1], last=True)]


def test_client_that_sends_and_reads_nothing(guarded: Stack) -> None:
    """A client that sends messages and reads no answer is not read from any more; once it reads, it gets an answer to
    each of them."""
    frame = client_frame(TEXT, b'{"type":"' + b"x" * 10_000 + b'"}')
    with connected(guarded) as client:
        client.sock.settimeout(1)
        sent = 0
        # As much as would be read in a second if all of it were.
        with suppress(TimeoutError):
            while sent < 40_000_000:
                sent += client.sock.send(frame[sent % len(frame) :])
        assert sent < 20_000_000
        client.sock.settimeout(10)
        for _ in range(sent // len(frame)):
            assert client.message()["status"] == 422


def test_follow_again_and_again(guarded: Stack, alice: httpx.Client) -> None:
    """To follow a job again begins again where it says, and counts once."""
    job = alice.post("/jobs", json={"prompt": "x"}).json()["id"]
    follow = client_frame(TEXT, json.dumps({"type": "follow", "job": job}).encode())
    with connected(guarded) as client:
        client.send(*[follow] * 300)
        client.send(client_frame(TEXT, json.dumps({"type": "cancel", "job": job}).encode()))
        # While the job is queued, each follow may tell what it waits for.
        first = next(message for message in iter(client.message, None) if message["type"] != "queued")
        assert first["entry"]["kind"] == "cancelled"
        assert client.message()["type"] == "ended"
        client.send(follow)
        assert client.message()["entry"]["kind"] == "cancelled"  # type: ignore[index]
        assert client.message()["type"] == "ended"
        client.send(client_frame(TEXT, b'{"type":"applause"}'))
        assert client.message()["status"] == 422


def test_submit_beyond_the_jobs_that_a_socket_follows(guarded: Stack, alice: httpx.Client) -> None:
    """A submit on a socket that follows as many jobs as it may is refused before there is a job."""
    batches = [alice.post("/batches", json=[{"prompt": "x"}] * 20).json()["id"] for _ in range(5)]
    jobs = [one["id"] for batch in batches for one in alice.get("/jobs", params={"batch": batch}).json()["jobs"]]
    submit = client_frame(TEXT, b'{"type":"submit","prompt":"x","ref":"mine"}')
    with connected(guarded) as client:
        client.send(*[client_frame(TEXT, json.dumps({"type": "follow", "job": job}).encode()) for job in jobs])
        client.send(client_frame(TEXT, b'{"type":"applause"}'))
        assert client.message_of("error")["status"] == 422
        before = stored(guarded.redis.link)
        client.send(submit)
        refused = client.message_of("error", "accepted")
        assert (refused["type"], refused["status"], refused["ref"], "job" in refused) == ("error", 429, "mine", False)
        assert stored(guarded.redis.link) == before
        client.send(client_frame(TEXT, json.dumps({"type": "unfollow", "job": jobs[0]}).encode()), submit)
        assert client.message_of("error", "accepted")["type"] == "accepted"
    for batch in batches:
        alice.post(f"/batches/{batch}/cancel")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (TooManyFolds("limit reached", 2.0), 1013),
        (StoreUnavailable("away"), 1013),
        (Problem(499, "Left", "gone"), 1008),
    ],
    ids=["folds", "redis", "client left"],
)
def test_close_code_of_an_error_before_the_first_frame(
    error: Exception, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    """A snapshot that cannot be made closes the socket with a code to retry on, and is no unexpected error."""
    assert closed_by(error).code == code
    assert caplog.records == []
