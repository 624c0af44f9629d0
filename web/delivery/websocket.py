"""The common part of all WebSocket routes (RFC 6455): checks before the upgrade, whole frames, close codes.

simple-websocket does the handshake; ``websocket_input`` reads. Frames are encoded here and written whole.
simple-websocket's own ``send`` ignores partial writes (its issue 45), which under gevent truncates frames to a slow
reader. So it gets a socket whose ``send`` is ``sendall`` under a lock: its pings and the entries never interleave.
"""

from __future__ import annotations

import base64
import binascii
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import wraps
from typing import Any

import gevent
import orjson
from flask import Flask, request
from flask_sock import Sock
from gevent.lock import RLock
from simple_websocket import ConnectionClosed

from spool.deadline import Deadline
from spool.errors import JobGone, JobNotFound, StoreUnavailable, TooManyStreams
from web import auth, json_text, origins
from web.auth import scope
from web.delivery.websocket_input import INPUT, Reading, close
from web.delivery.websocket_messages import Closed, InputLimits
from web.limits.bodies import job_bytes
from web.metrics import STREAMS
from web.problems import Problem, field_problem
from web.server.sockets import reset_on_close
from web.services import State, state

log = logging.getLogger("spool.web")

_MESSAGE_BYTES = 64 * 1024
_UNREAD_BYTES = 128 * 1024
SUBPROTOCOLS = ("spool.json", "spool.text")
_SUBPROTOCOLS_READ = 100
_LINGER_S = 2.0
"""Seconds to wait for the peer's close."""
_LINGER_BYTES = 256 * 1024
"""The most bytes to discard during that wait."""


class WholeFrames:
    """A socket on which every ``send`` sends everything, one at a time."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        self._lock = RLock()

    def send(self, data: bytes | memoryview) -> int:
        """Send all of ``data``; other senders wait."""
        with self._lock:
            try:
                self._sock.sendall(data)
            except BaseException:
                # A part may have been sent, so nothing may follow it.
                with suppress(OSError):
                    reset_on_close(self._sock)
                    self._sock.shutdown(socket.SHUT_RDWR)
                raise
        return len(data)

    def send_now(self, data: bytes) -> bytes | memoryview:
        """Send without blocking. Returns the rest for ``send``: all of it if another sender is busy or the socket
        failed."""
        if self._lock.locked():
            return data
        try:
            # The third argument is gevent's timeout.
            sent = self._sock.send(data, 0, 0.0)
        except OSError:
            return data
        return memoryview(data)[sent:]

    def close(self) -> None:
        """Close after the peer has. Closing with its data unread would reset the connection and lose the close frame
        with the reason (RFC 6455 section 7.1.1)."""
        deadline, left = Deadline.after(_LINGER_S), _LINGER_BYTES
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)
            while not deadline.passed and left > 0:
                self._sock.settimeout(max(0.01, deadline.left_s))
                data = self._sock.recv(16_384)
                if not data:
                    break
                left -= len(data)
                # Yield, because a client that sends without pause would never make this block.
                gevent.sleep(0)
        self._sock.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


class Signal(threading.Event):
    """simple-websocket's event for incoming messages; ``on_set`` also wakes the greenlet that waits for entries."""

    def __init__(self) -> None:
        super().__init__()
        self.on_set: Callable[[], None] = lambda: None

    def set(self) -> None:
        """Signal a message or the end of the connection."""
        super().set()
        self.on_set()


OPTIONS = {"subprotocols": SUBPROTOCOLS, "event_class": Signal, "thread_class": Reading}
"""The options for simple-websocket."""


def socket_route(
    app: Flask, path: str, needed: str, serve: Callable[..., None], *, takes_prompts: bool = False
) -> None:
    """Register a WebSocket route, which closes with the code of the error that ends it. The credential (as for every
    route), Origin and limits are checked before the upgrade, while an HTTP status can still be sent. A message may have
    64 KiB, or with ``takes_prompts`` the size of a submit's body."""

    @wraps(serve)
    def view(ws: Any, **values: str) -> None:
        services = state()
        try:
            with services.slots.one(auth.owner()), STREAMS.labels("websocket").track_inprogress():
                serve(services, ws, **values)
            close(ws, 1000, "")
        except Closed as closed:
            close(ws, closed.code, closed.reason)
        except JobGone:
            close(ws, 4410, "gone")
        except JobNotFound:
            close(ws, 4404, "no such job")
        except (StoreUnavailable, TooManyStreams) as exc:
            close(ws, 1013, type(exc).__name__)
        except (ConnectionClosed, OSError):
            # The client disconnected or stalled.
            ws.connected = False
        except Exception:
            # The boundary: after the upgrade no error handler can answer in the protocol.
            log.exception("unexpected")
            close(ws, 1011, "internal error")
        ws.thread.wake()
        # gunicorn closes the connection when this returns.
        ws.thread.join(_LINGER_S)

    def check() -> None:
        if request.endpoint == view.__name__:
            services = state()
            _check_upgrade(services)
            settings = services.settings
            prompt_bytes = job_bytes(settings.max_body_bytes, settings.max_prompt_bytes)
            _prepare(services, prompt_bytes if takes_prompts else _MESSAGE_BYTES)

    view.__name__ = path
    scope(needed)(view)
    app.before_request(check)
    app.config["SOCK_SERVER_OPTIONS"] = OPTIONS
    Sock(app).route(path, endpoint=path)(view)


def _check_upgrade(services: State) -> None:
    _check_handshake()
    origins.refuse_foreign(services.settings)
    services.refuse_streams(auth.owner())


def _prepare(services: State, message_bytes: int) -> None:
    """Prepare the request for simple-websocket. It keeps only the headers that the handshake needs and that have been
    checked, because simple-websocket sends no answer to headers that it cannot parse. It accepts no extension, because
    a message deflated to a thousandth of its size would be inflated before its size is known."""
    environ, protocols = request.environ, request.headers.get("Sec-WebSocket-Protocol", "")
    key = request.headers["Sec-WebSocket-Key"].strip()
    for name in [name for name in environ if name.startswith("HTTP_")]:
        del environ[name]
    environ.update(HTTP_HOST="localhost", HTTP_CONNECTION="Upgrade", HTTP_UPGRADE="websocket")
    environ.update(HTTP_SEC_WEBSOCKET_VERSION="13", HTTP_SEC_WEBSOCKET_KEY=key)
    offered = (name.strip() for name in protocols.split(",", _SUBPROTOCOLS_READ)[:_SUBPROTOCOLS_READ])
    if chosen := next((name for name in offered if name in SUBPROTOCOLS), None):
        environ["HTTP_SEC_WEBSOCKET_PROTOCOL"] = chosen
    # Bounds the unread bytes in the kernel, which would otherwise buffer megabytes.
    environ["gunicorn.socket"].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _UNREAD_BYTES)
    environ[INPUT] = InputLimits(message_bytes, services.settings.stall_s, services.websocket_input)
    environ["gunicorn.socket"] = WholeFrames(environ["gunicorn.socket"])


def _check_handshake() -> None:
    """Check RFC 6455 section 4.2.1, because wsproto reports its errors too late for an HTTP response."""
    if request.headers.get("Sec-WebSocket-Version", "").strip() != "13":
        detail = "Sec-WebSocket-Version must be 13"
        raise Problem(426, "Upgrade required", detail, headers={"Sec-WebSocket-Version": "13"})
    try:
        key = base64.b64decode(request.headers.get("Sec-WebSocket-Key", "").strip(), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != 16:
        raise Problem(400, "Bad handshake", "Sec-WebSocket-Key must be 16 bytes in base64")


def received(ws: Any, refuse: Callable[[Problem], None]) -> Iterator[dict[str, Any]]:
    """The received JSON objects, one at a time. ``refuse`` gets the problem of one that exceeds the bounds. Raises
    ``Closed`` for a message that is not a JSON object."""
    while ws.input_buffer:
        raw = ws.input_buffer.take()
        if not raw.lstrip().startswith(b"{"):
            raise Closed(1007, "send a JSON object")
        try:
            message = json_text.load(raw)
        except json_text.Refused as exc:
            if isinstance(exc.__cause__, orjson.JSONDecodeError):
                raise Closed(1007, "send valid JSON") from exc
            refuse(field_problem("body", str(exc)))
        else:
            yield message
