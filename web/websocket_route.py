"""What every WebSocket route shares (RFC 6455): the checks before the upgrade, whole frames, close codes.

simple-websocket does the handshake and reads. What is sent goes out as frames encoded here, each written whole: its
own ``send`` ignores how much the socket took (its issue 45), which under gevent tears frames of a slow reader. The
socket that it gets is therefore one whose ``send`` is ``sendall`` under a lock, so that its pings and the entries
never mix.
"""

from __future__ import annotations

import base64
import binascii
import logging
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from typing import Any

import orjson
from flask import Flask, request
from flask_sock import Sock
from gevent.lock import RLock
from simple_websocket import ConnectionClosed

from spool.deadline import Deadline
from spool.errors import JobGone, JobNotFound, StoreUnavailable, TooManyStreams
from web import origins
from web.auth import scope
from web.metrics import STREAMS
from web.problems import Problem
from web.state import state
from web.streams import reset_on_close

log = logging.getLogger("spool.web")

PING_S = 25
_MESSAGE_BYTES = 64 * 1024
_LINGER_S = 2.0
"""How long a peer may take to close its end."""


class WholeFrames:
    """A socket on which every ``send`` sends everything, one at a time."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        self._lock = RLock()

    def send(self, data: bytes | memoryview) -> int:
        """Send all of ``data``; whoever else wants to send waits."""
        with self._lock:
            try:
                self._sock.sendall(data)
            except BaseException:
                # A part of it may be out: nothing may follow it.
                with suppress(OSError):
                    reset_on_close(self._sock)
                    self._sock.shutdown(socket.SHUT_RDWR)
                raise
        return len(data)

    def send_now(self, data: bytes) -> bytes | memoryview:
        """Send what can be sent without waiting; what is left, or all of it if the socket broke, is for ``send``."""
        if self._lock.locked():
            return data
        try:
            # The time that it may wait, which is gevent's own argument.
            sent = self._sock.send(data, 0, 0.0)
        except OSError:
            return data
        return memoryview(data)[sent:]

    def close(self) -> None:
        """Close after the peer has. Closing while something of it is unread would reset the connection, and the
        close frame that says why would be lost (RFC 6455 section 7.1.1)."""
        deadline = Deadline.after(_LINGER_S)
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)
            while not deadline.passed:
                self._sock.settimeout(max(0.01, deadline.left_s))
                if not self._sock.recv(65_536):
                    break
        self._sock.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


class Signal(threading.Event):
    """simple-websocket's event for incoming messages, which also wakes whoever waits for entries."""

    def __init__(self) -> None:
        super().__init__()
        self.on_set: Callable[[], None] = lambda: None

    def set(self) -> None:
        """A message came, or the connection closed."""
        super().set()
        self.on_set()


OPTIONS = {
    "subprotocols": ["spool.json", "spool.text"],
    "ping_interval": PING_S,
    "max_message_size": _MESSAGE_BYTES,
    "event_class": Signal,
}
"""What simple-websocket is told."""


def frame(payload: bytes) -> bytes:
    """One unmasked text frame, RFC 6455 section 5.2."""
    size = len(payload)
    if size < 126:
        return b"\x81" + bytes((size,)) + payload
    if size < 65_536:
        return b"\x81\x7e" + size.to_bytes(2) + payload
    return b"\x81\x7f" + size.to_bytes(8) + payload


class Closed(Exception):
    """This end closes: RFC 6455 close ``code`` and why."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


def socket_route(app: Flask, path: str, needed: str, serve: Callable[..., None]) -> None:
    """A WebSocket route that closes with the code of whatever ends it. Before the upgrade, while a status can still
    be sent: the credential (as for every route), Origin, and the caps."""

    @wraps(serve)
    def view(ws: Any, **values: str) -> None:
        here = state()
        try:
            with here.slots.one(), STREAMS.labels("websocket").track_inprogress():
                serve(here, ws, **values)
            _close(ws, 1000, "")
        except Closed as closed:
            _close(ws, closed.code, closed.reason)
        except JobGone:
            _close(ws, 4410, "gone")
        except JobNotFound:
            _close(ws, 4404, "no such job")
        except (StoreUnavailable, TooManyStreams) as exc:
            _close(ws, 1013, type(exc).__name__)
        except (ConnectionClosed, OSError):
            # The client left, or takes nothing.
            ws.connected = False
        except Exception:
            # The boundary: after the upgrade nobody else can say it in the protocol's words.
            log.exception("unexpected")
            _close(ws, 1011, "internal error")
        # gunicorn closes the connection when this returns.
        ws.thread.join(_LINGER_S)

    def check() -> None:
        if request.endpoint == view.__name__:
            _check_upgrade()

    view.__name__ = path
    scope(needed)(view)
    app.before_request(check)
    app.config["SOCK_SERVER_OPTIONS"] = OPTIONS
    Sock(app).route(path, endpoint=path)(view)


def _check_upgrade() -> None:
    here = state()
    _check_handshake()
    origins.refuse_foreign(here.settings)
    here.refuse_streams()
    request.environ["gunicorn.socket"] = WholeFrames(request.environ["gunicorn.socket"])


def _check_handshake() -> None:
    """RFC 6455 section 4.2.1; what wsproto finds wrong in it comes too late for an answer."""
    if request.headers.get("Sec-WebSocket-Version", "").strip() != "13":
        raise Problem(426, "Upgrade required", "this is a WebSocket", headers={"Sec-WebSocket-Version": "13"})
    try:
        key = base64.b64decode(request.headers.get("Sec-WebSocket-Key", "").strip(), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != 16:
        raise Problem(400, "Bad handshake", "Sec-WebSocket-Key must be 16 bytes in base64")


def _close(ws: Any, code: int, reason: str) -> None:
    if ws.connected:
        with suppress(OSError):
            ws.close(code, reason)


def received(ws: Any) -> list[dict[str, Any]]:
    """The JSON messages that have come. Raises ``Closed`` for what is none."""
    messages = []
    while ws.input_buffer:
        data = ws.receive(timeout=0)
        if isinstance(data, bytes):
            raise Closed(1003, "send text")
        try:
            message = orjson.loads(data)
        except ValueError as exc:
            raise Closed(1007, "send JSON") from exc
        if not isinstance(message, dict):
            raise Closed(1007, "send a JSON object")
        messages.append(message)
    return messages
