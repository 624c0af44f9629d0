"""The libraries for WebSockets (RFC 6455): flask-sock, simple-websocket and wsproto. No other file touches them.

flask-sock registers the routes, and simple-websocket does the handshake. Neither serves the socket afterwards:
simple-websocket reads without bound in a thread of its own, and its ``send`` ignores partial writes (its issue 45). So
the connection is hijacked after the handshake, and wsproto's parser reads the frames. The contract test runs all of
this against the installed versions.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from typing import Any, NamedTuple

from flask import Flask, request
from flask_sock import Sock
from wsproto.frame_protocol import Frame as Parsed
from wsproto.frame_protocol import FrameProtocol, Opcode, ParseFailed

from web.server.hijack import Stream, UpgradeResponse

_SUBPROTOCOLS_READ = 100
_SOCKET = "gunicorn.socket"


class Closed(Exception):
    """Close the WebSocket with an RFC 6455 close ``code`` and ``reason``."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class _NoThread:
    """simple-websocket's ``thread_class``; nothing reads the socket there."""

    name = ""

    def __init__(self, target: object) -> None:
        """Drop the target, which refers to the socket."""

    def start(self) -> None:
        """Start nothing."""


class _Handshake:
    """A socket that adds headers to the handshake, the first thing that simple-websocket sends: it has no argument for
    them."""

    def __init__(self, sock: Any, headers: Sequence[tuple[str, str]]) -> None:
        self.sock = sock
        self._headers = "".join(f"{name}: {value}\r\n" for name, value in headers).encode()

    def send(self, data: bytes) -> int:
        """Send the handshake's answer."""
        status, rest = data.split(b"\r\n", 1)
        self.sock.send(status + b"\r\n" + self._headers + rest)
        return len(data)


class _Upgraded(Exception):
    """Ends the request after the handshake; ``stream`` gets the connection."""

    def __init__(self, stream: Stream) -> None:
        super().__init__()
        self.stream = stream


def register(app: Flask, path: str, subprotocols: tuple[str, ...], serve: Callable[..., Stream]) -> None:
    """Register a WebSocket route; its endpoint is ``path``. After the handshake, ``serve`` gets the chosen subprotocol
    and the path's values, and returns the stream that takes the connection."""

    @wraps(serve)
    def view(ws: Any, **values: str) -> None:
        environ: dict[str, Any] = request.environ
        environ[_SOCKET] = environ[_SOCKET].sock
        # The only way out of flask-sock that neither writes to the socket nor closes it is an exception.
        raise _Upgraded(serve(ws.subprotocol, **values))

    app.register_error_handler(_Upgraded, lambda upgraded: UpgradeResponse(upgraded.stream))
    app.config["SOCK_SERVER_OPTIONS"] = {"subprotocols": subprotocols, "thread_class": _NoThread}
    Sock(app).route(path, endpoint=path)(view)


def prepare(
    environ: dict[str, Any],
    key: str,
    offered: str,
    subprotocols: tuple[str, ...],
    headers: Sequence[tuple[str, str]],
) -> None:
    """Keep only the headers that the handshake needs and that have been checked, because simple-websocket sends no
    answer to headers that it cannot parse. It negotiates no extension then, because a message deflated to a thousandth
    of its size would be inflated before its size is known. ``headers`` are added to the answer."""
    for name in [name for name in environ if name.startswith("HTTP_")]:
        del environ[name]
    environ.update(HTTP_HOST="localhost", HTTP_CONNECTION="Upgrade", HTTP_UPGRADE="websocket")
    environ.update(HTTP_SEC_WEBSOCKET_VERSION="13", HTTP_SEC_WEBSOCKET_KEY=key)
    names = (name.strip() for name in offered.split(",", _SUBPROTOCOLS_READ)[:_SUBPROTOCOLS_READ])
    if chosen := next((name for name in names if name in subprotocols), None):
        environ["HTTP_SEC_WEBSOCKET_PROTOCOL"] = chosen
    environ[_SOCKET] = _Handshake(environ[_SOCKET], headers)


class Received(enum.Enum):
    """The kinds of received frames."""

    TEXT = enum.auto()
    BINARY = enum.auto()
    PING = enum.auto()
    PONG = enum.auto()
    CLOSE = enum.auto()


class Frame(NamedTuple):
    """A received frame, or a part of a long one. ``is_last``: it completes the message. A close frame has the client's
    ``code``."""

    kind: Received
    payload: bytes
    is_last: bool = True
    code: int = 0


_KINDS = {
    Opcode.BINARY: Received.BINARY,
    Opcode.PING: Received.PING,
    Opcode.PONG: Received.PONG,
}


def _frame_of(found: Parsed) -> Frame:
    match found.payload:
        case (int(code), str(reason)):
            return Frame(Received.CLOSE, reason.encode(), code=int(code))
        case str(text):
            return Frame(Received.TEXT, text.encode(), found.message_finished)
        case data:
            return Frame(_KINDS[found.opcode], bytes(data), found.message_finished)


class FrameParser:
    """The parser of one client's frames. It knows no extension, so it never inflates."""

    __slots__ = ("_protocol",)

    def __init__(self) -> None:
        self._protocol = FrameProtocol(client=False, extensions=[])

    def feed(self, data: bytes) -> None:
        """Add received bytes."""
        self._protocol.receive_bytes(data)

    def frames(self) -> Iterator[Frame]:
        """Parse the received frames one at a time, up to a close frame. Raises ``Closed`` for a violation of the
        protocol."""
        try:
            for found in self._protocol.received_frames():
                yield _frame_of(found)
        except ParseFailed as exc:
            raise Closed(int(exc.code), str(exc)) from exc
