"""Requests that break off or are no HTTP: no internal error, nothing half done, and the next request is served."""

from __future__ import annotations

import socket
from contextlib import suppress

import httpx
import pytest

from tests.stack import Stack
from tests.web.conftest import ALICE
from tests.web.problem_shape import stored

HEAD = f"POST /jobs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ALICE}\r\nContent-Type: application/json\r\n"
CHUNKED = HEAD + "Transfer-Encoding: chunked\r\n\r\n"


def answer_to(stack: Stack, request: str, *, hang_up: bool = False) -> bytes:
    """What comes back until the server closes, or nothing if this end does first."""
    with socket.create_connection(("127.0.0.1", stack.webs[0].port), timeout=60) as connection:
        connection.sendall(request.encode("latin-1"))
        if hang_up:
            return b""
        with suppress(OSError):
            # The server may have answered and closed by now.
            connection.shutdown(socket.SHUT_WR)
        received = b""
        # A server that closes before it has read everything resets the connection.
        with suppress(ConnectionResetError):
            while data := connection.recv(65_536):
                received += data
        return received


@pytest.mark.parametrize(
    "request_text",
    [
        CHUNKED + "zz\r\n{}\r\n0\r\n\r\n",
        CHUNKED + "-5\r\nhello\r\n0\r\n\r\n",
        CHUNKED + '10\r\n{"prompt":"x"',
        CHUNKED + '4\r\n{"prompt":"x"}\r\n0\r\n\r\n',
        CHUNKED + "ffffffffffffffffff\r\nx",
        HEAD + 'Content-Length: 100\r\n\r\n{"prompt":"x"}',
        HEAD + 'Content-Length: -1\r\n\r\n{"prompt":"x"}',
        HEAD + 'Content-Length: x\r\n\r\n{"prompt":"x"}',
        HEAD + 'Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n{"prompt":"x"}',
        HEAD + 'Transfer-Encoding: gzip\r\n\r\n{"prompt":"x"}',
        HEAD + "X: " + "x" * 20_000 + "\r\n\r\n",
        "GET /" + "x" * 20_000 + " HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /jobs HTTP/9.9\r\nHost: x\r\n\r\n",
        "GET jobs HTTP/1.1\r\nHost: x\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
        "\r\n\r\n",
    ],
    ids=range(16),
)
def test_request_that_is_broken(guarded: Stack, alice: httpx.Client, request_text: str) -> None:
    """What is no request is refused or hung up on, and is no internal error; no job comes of it."""
    before = stored(guarded.redis.link)
    status_line = answer_to(guarded, request_text).split(b"\r\n")[0]
    assert status_line == b"" or status_line.split()[1].startswith(b"4"), status_line
    assert stored(guarded.redis.link) == before
    assert alice.get("/jobs?limit=1").status_code == 200


def test_client_that_hangs_up(guarded: Stack, alice: httpx.Client) -> None:
    """A client that leaves in the middle of its body leaves no job behind, and no error in the log."""
    before = stored(guarded.redis.link)
    for text in (HEAD + 'Content-Length: 100\r\n\r\n{"prompt":"x"}', CHUNKED + '10\r\n{"prompt":"x"'):
        answer_to(guarded, text, hang_up=True)
    for _ in range(3):
        assert alice.get("/jobs?limit=1").status_code == 200
    assert stored(guarded.redis.link) == before
    assert "Traceback" not in guarded.webs[0].output.read_text()


INSIDE = "GET /livez?inside HTTP/1.1\r\nHost: x\r\n\r\n"
SMUGGLED = f"0\r\n\r\n{INSIDE}"


@pytest.mark.parametrize(
    "fields",
    [
        f"Content-Length: {len(SMUGGLED)}\r\nTransfer-Encoding: chunked",
        f"Transfer-Encoding: chunked\r\nContent-Length: {len(SMUGGLED)}",
        f"Content-Length: {len(SMUGGLED)}\r\nTransfer-Encoding: xchunked",
        f"Content-Length: {len(SMUGGLED)}\r\nTransfer-Encoding : chunked",
        f"Content-Length: {len(SMUGGLED)}\r\nTransfer-Encoding: \x0bchunked",
        f"Content-Length: {len(SMUGGLED)}\r\nTransfer-Encoding: chunked, identity",
        f"Content-Length: {len(SMUGGLED)}\r\nTransfer-Encoding: identity\r\nTransfer-Encoding: chunked",
        f"Content-Length: {len(SMUGGLED)}\r\nX: y\r\n Transfer-Encoding: chunked",
        f"Content-Length: {len(SMUGGLED)}\r\nTransfer-Encoding:\r\n chunked",
        f"Content-Length: {len(SMUGGLED)}\r\nX: y\nTransfer-Encoding: chunked",
        f"Content-Length: {len(SMUGGLED)}\r\nX: y\rTransfer-Encoding: chunked",
        f"Content-Length: {len(SMUGGLED)}\r\nTransfer_Encoding: chunked\r\nTransfer-Encoding: chunked",
        f"Content-Length: {len(SMUGGLED)}\r\nContent-Length: 5",
        f"Content-Length: {len(SMUGGLED)}, 5",
        f"Content-Length: +{len(SMUGGLED)}",
        f"Content-Length: 0x{len(SMUGGLED):x}",
        f"Content-Length: {len(SMUGGLED)} 5",
        f"Content-Length : {len(SMUGGLED)}",
        f"Content_Length: 5\r\nContent-Length: {len(SMUGGLED)}\r\nContent-Length: 0",
        "Host: y\r\nContent-Length: 0",
    ],
    ids=range(20),
)
def test_request_that_two_servers_may_read_differently(guarded: Stack, fields: str) -> None:
    """It is refused, and the connection closes: what is in its body is never taken for a request of its own (RFC 9112,
    section 11.2)."""
    request = f"POST /jobs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ALICE}\r\n{fields}\r\n\r\n{SMUGGLED}"
    answer = answer_to(guarded, request)
    assert answer.count(b"HTTP/1.1 ") == 1, answer
    assert answer.split()[1][:1] == b"4" or answer.split()[1] == b"501", answer
    assert b"connection: close" in answer.lower()


@pytest.mark.parametrize("size", ["5;\n", "05\n", "0x5", "+5", "5 5", "5\x00", "٥", "5_0", "-0"], ids=range(9))
def test_chunk_that_two_servers_may_read_differently(guarded: Stack, size: str) -> None:
    """A size that is no hexadecimal number ends the connection."""
    answer = answer_to(guarded, f"{CHUNKED}{size.encode().decode('latin-1')}\r\nhello\r\n{SMUGGLED}")
    assert answer.count(b"HTTP/1.1 ") == 1, answer
    assert answer.split()[1].startswith(b"4"), answer
