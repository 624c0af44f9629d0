"""The contract with flask-sock, simple-websocket and wsproto, as far as Spool relies on it."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from tests.faults.wire import CLOSE, PING, TEXT, client_frame
from tests.test_architecture import ROOT, imports
from web.server.hijack import Hijack
from web.server.websocket_protocol import Closed, Frame, FrameParser, Received, prepare, register

KEY, ACCEPTED = "dGhlIHNhbXBsZSBub25jZQ==", b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
"""The example of RFC 6455 section 1.3."""
LIBRARIES = {"flask_sock", "simple_websocket", "wsproto"}


class Wire:
    """The socket of a request."""

    def __init__(self) -> None:
        self.sent = b""

    def send(self, data: bytes) -> int:
        """Keep what is sent."""
        self.sent += data
        return len(data)


class Served:
    """A stream, and the owner of the connections that gets it."""

    opening = b""

    def __init__(self) -> None:
        self.given: list[Any] = []
        self.abandoned = 0

    def give(self, sock: Any, stream: Any, *, chunked: bool) -> None:
        """Get the stream."""
        self.given.append((sock, stream, chunked))

    def begin(self, connection: Any) -> None:
        """Not called here."""

    def abandon(self) -> None:
        """Count it."""
        self.abandoned += 1


def upgraded(offered: str) -> tuple[Wire, Served, list[Any]]:
    """A handshake through the middleware, without a server: the wire, the stream, and what ``serve`` got."""
    app, served, called = Flask("t"), Served(), []

    def serve(subprotocol: str | None, **values: str) -> Served:
        called.append((subprotocol, values))
        return served

    register(app, "/s/<name>/ws", ("spool.json", "spool.text"), serve)  # type: ignore[arg-type]
    wire = Wire()
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/s/a/ws",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.url_scheme": "http",
        "gunicorn.socket": wire,
        "HTTP_ODD": "\xff",
        "HTTP_SEC_WEBSOCKET_EXTENSIONS": "permessage-deflate",
    }
    prepare(environ, KEY, offered, ("spool.json", "spool.text"), [("X-Request-Id", "r1")])
    Hijack(app, served)(environ, lambda *_: pytest.fail("the handshake is simple-websocket's"))
    return wire, served, called


@pytest.mark.parametrize(
    ("offered", "chosen"), [("", None), ("spool.text", "spool.text"), ("x, spool.json,spool.text", "spool.json")]
)
def test_handshake(offered: str, chosen: str | None) -> None:
    """The libraries answer the handshake and nothing else; then the connection is the stream's alone."""
    wire, served, called = upgraded(offered)
    head, _, rest = wire.sent.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0].startswith(b"HTTP/1.1 101")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines[1:])}
    assert headers[b"sec-websocket-accept"] == ACCEPTED
    assert headers.get(b"sec-websocket-protocol") == (chosen.encode() if chosen else None)
    assert b"sec-websocket-extensions" not in headers
    assert headers[b"x-request-id"] == b"r1"
    assert rest == b""
    assert called == [(chosen, {"name": "a"})]
    assert [(sock, stream) for sock, stream, _ in served.given] == [(wire, served)]
    assert served.abandoned == 0


def parsed(data: bytes, size: int) -> list[Frame]:
    """The frames in the data, received ``size`` bytes at a time."""
    parser, found = FrameParser(), []
    for at in range(0, len(data), size):
        parser.feed(data[at : at + size])
        found += parser.frames()
    return found


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_frames(size: int) -> None:
    """Frames are the same in whatever pieces they arrive, and nothing is read after a close frame."""
    data = client_frame(TEXT, "größe".encode()) + client_frame(PING, b"p") + client_frame(0xA, b"")
    data += client_frame(CLOSE, (1001).to_bytes(2) + b"bye") + client_frame(TEXT, b"late")
    text, *control = [frame for frame in parsed(data, size) if frame.kind is not Received.TEXT or frame.is_last]
    texts = [frame.payload for frame in parsed(data, size) if frame.kind is Received.TEXT]
    assert b"".join(texts) == "größe".encode()
    assert text.kind is Received.TEXT
    assert control == [
        Frame(Received.PING, b"p"),
        Frame(Received.PONG, b""),
        Frame(Received.CLOSE, b"bye", code=1001),
    ]


def test_frames_are_parsed_one_at_a_time() -> None:
    """To stop in between loses nothing."""
    parser = FrameParser()
    parser.feed(client_frame(PING, b"1") + client_frame(PING, b"2"))
    assert next(parser.frames()).payload == b"1"
    assert [frame.payload for frame in parser.frames()] == [b"2"]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x81\x01x", 1002),
        (bytes((0xC1, *client_frame(TEXT, b"x")[1:])), 1002),
        (bytes((0x83, *client_frame(TEXT, b"x")[1:])), 1002),
        (client_frame(0x0, b"x"), 1002),
        (client_frame(CLOSE, b"x"), 1002),
        (client_frame(TEXT, b"\xff"), 1007),
    ],
    ids=["unmasked", "compressed", "unknown opcode", "continues nothing", "one byte in a close", "not UTF-8"],
)
def test_violations(data: bytes, code: int) -> None:
    """A violation of the protocol is named with its code."""
    with pytest.raises(Closed) as closed:
        parsed(data, 1000)
    assert closed.value.code == code


def test_no_other_file_touches_the_libraries() -> None:
    """The libraries are imported in one file, and no private attribute of theirs is used there."""
    where = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "web").rglob("*.py")
        if any(name.partition(".")[0] in LIBRARIES for _, name in imports(path))
    }
    assert where == {"web/server/websocket_protocol.py"}
    tree = ast.parse(Path(ROOT, *where).read_text(encoding="utf-8"))
    private = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and re.match("_(?!_)", node.attr) and ast.unparse(node.value) != "self"
    }
    assert private == set()
