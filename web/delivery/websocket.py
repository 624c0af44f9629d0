"""WebSocket routes: checks before the upgrade, the session after it, and the close codes of errors."""

from __future__ import annotations

import base64
import binascii
import logging
from collections.abc import Callable
from functools import wraps
from socket import SO_RCVBUF, SOL_SOCKET
from typing import Any

import orjson
from flask import Flask, request

from spool.access.caller import Caller
from spool.errors import BatchNotFound, JobGone, JobNotFound, LimitExceeded, StoreUnavailable, TooManyStreams
from spool.switches.switch import Transport
from web import auth, bounded_json
from web.auth import scope
from web.delivery.encoding import Trouble
from web.limits.bodies import job_bytes
from web.limits.transports import refuse_off
from web.metrics import STREAMS, STREAMS_BEGUN, STREAMS_ENDED
from web.problems import Problem
from web.request_ids import headers_in
from web.server import websocket_protocol
from web.server.websocket import Session, WebSocket
from web.server.websocket_input import InputLimits
from web.server.websocket_protocol import Closed
from web.services import State

log = logging.getLogger("spool.web")

_MESSAGE_BYTES = 64 * 1024
_UNREAD_BYTES = 128 * 1024
_LABEL = "websocket"
_OPEN = STREAMS.labels(_LABEL)
SUBPROTOCOLS = ("spool.json", "spool.text")


class Refusal:
    """The session of a socket that closes at once. Errors that appear after the upgrade have no HTTP status."""

    def __init__(self, closed: Closed) -> None:
        self._closed = closed

    def begin(self, socket: WebSocket) -> None:
        """Close it."""
        socket.close_with(self._closed.code, self._closed.reason)

    def message(self, raw: bytes) -> None:
        """Ignore the message."""

    def tick(self, now: float) -> None:
        """There is no deadline."""


def socket_route(
    app: Flask,
    path: str,
    needed: str,
    open_session: Callable[..., Session],
    *,
    takes_prompts: bool = False,
    shared: str = "",
) -> None:
    """Register a WebSocket route. The credential (as for every route), Origin and limits are checked before the
    upgrade, while an HTTP status can still be sent. A message may have 64 KiB, or with ``takes_prompts`` the size of a
    submit's body. ``open_session`` gets the services, the subprotocol and the path's values; an error closes the socket
    with its code."""
    services: State = app.extensions["spool"]
    settings = services.settings
    prompt_bytes = job_bytes(settings.max_body_bytes, settings.max_prompt_bytes)
    most = prompt_bytes if takes_prompts else _MESSAGE_BYTES
    limits = InputLimits(most, settings.stall_s, services.websocket_input)

    @wraps(open_session)
    def serve(subprotocol: str | None, **values: str) -> WebSocket:
        held = _Held(services)
        try:
            held.take(auth.caller())
            session = open_session(services, subprotocol, **values)
        except Exception as exc:  # noqa: BLE001 - the boundary: after the upgrade no error handler can answer
            session = Refusal(closed_by(exc))
        held.socket = socket = WebSocket(session, limits, held.release, services.ticker)
        return socket

    scope(needed, shared=shared, is_stream=True)(serve)
    _check_handshakes(app, path)
    websocket_protocol.register(app, path, SUBPROTOCOLS, serve)


def _check_handshakes(app: Flask, endpoint: str) -> None:
    """Check those of this route. One hook is for all of them, because every request passes it."""
    endpoints: set[str] | None = app.extensions.get("spool.sockets")
    if endpoints is not None:
        endpoints.add(endpoint)
        return
    endpoints = app.extensions["spool.sockets"] = {endpoint}
    services: State = app.extensions["spool"]

    def check() -> None:
        if request.endpoint in endpoints:
            key = _check_handshake()
            services.authenticator.refuse_foreign_socket(auth.caller())
            refuse_off(services.switches, Transport.WEBSOCKET)
            services.refuse_streams(auth.owner())
            _prepare(key)

    app.before_request(check)


class _Held:
    """What an open socket holds: a slot of its owner, and its tenure. It holds nothing if a limit is reached."""

    __slots__ = ("_caller", "_let_go", "_services", "socket")

    def __init__(self, services: State) -> None:
        self._services = services
        self._caller: Caller | None = None
        self._let_go: Callable[[], None]
        self.socket: WebSocket | None = None

    def take(self, caller: Caller) -> None:
        """Take both. Raises ``TooManyStreams``."""
        self._let_go = self._services.authenticator.tenures.hold(caller, self._expel)
        try:
            self._services.slots.take(caller.owner)
        except TooManyStreams:
            self._let_go()
            raise
        self._caller = caller
        _OPEN.inc()
        STREAMS_BEGUN.labels(_LABEL, "false").inc()

    def release(self) -> None:
        """Release both."""
        if self._caller is not None:
            self._let_go()
            self._services.slots.give_back(self._caller.owner)
            _OPEN.dec()
            reason = "draining" if self._services.is_leaving else "closed"
            STREAMS_ENDED.labels(_LABEL, reason).inc()

    def _expel(self) -> None:
        if self.socket is not None:
            self.socket.close_with(4401, Trouble.NOT_AUTHENTICATED.message)


def closed_by(exc: Exception) -> Closed:
    """The close code of an error; unexpected ones are logged."""
    match exc:
        case Closed():
            return exc
        case JobGone():
            return Closed(4410, "gone")
        case JobNotFound():
            return Closed(4404, "no such job")
        case BatchNotFound():
            return Closed(4404, "no such batch")
        case Problem():
            # The client left while its answer was folded.
            return Closed(1008, exc.detail)
        case StoreUnavailable() | LimitExceeded():
            return Closed(1013, type(exc).__name__)
    log.error("unexpected error on a WebSocket", exc_info=exc)
    return Closed(1011, "internal error")


def _check_handshake() -> str:
    """The key of the handshake. Checked here (RFC 6455 section 4.2.1), because wsproto reports its errors too late for
    an HTTP response."""
    if request.headers.get("Sec-WebSocket-Version", "").strip() != "13":
        detail = "Sec-WebSocket-Version must be 13"
        raise Problem(426, "Upgrade required", detail, headers={"Sec-WebSocket-Version": "13"})
    key = request.headers.get("Sec-WebSocket-Key", "").strip()
    try:
        decoded = base64.b64decode(key, validate=True)
    except (binascii.Error, ValueError):
        decoded = b""
    if len(decoded) != 16:
        raise Problem(400, "Bad handshake", "Sec-WebSocket-Key must be 16 bytes in base64")
    return key


def _prepare(key: str) -> None:
    environ, offered = request.environ, request.headers.get("Sec-WebSocket-Protocol", "")
    # Bounds the unread bytes in the kernel, which would otherwise buffer megabytes.
    environ["gunicorn.socket"].setsockopt(SOL_SOCKET, SO_RCVBUF, _UNREAD_BYTES)
    websocket_protocol.prepare(environ, key, offered, SUBPROTOCOLS, headers_in(environ))


def json_object(raw: bytes) -> dict[str, Any]:
    """The message as a JSON object. Raises ``Closed`` if it is none, and ``bounded_json.Refused`` if it exceeds the
    bounds."""
    if not raw.lstrip().startswith(b"{"):
        raise Closed(1007, "send a JSON object")
    try:
        message: dict[str, Any] = bounded_json.load(raw)
    except bounded_json.Refused as exc:
        if isinstance(exc.__cause__, orjson.JSONDecodeError):
            raise Closed(1007, "send valid JSON") from exc
        raise
    return message
