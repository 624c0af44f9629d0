"""``GET /v1/responses``: the WebSocket of OpenAI's Responses API.

In: ``{"type":"response.create", …}``, the fields of ``POST /v1/responses``; ``stream`` and ``background`` mean nothing
here. Out: the events of its stream, one text frame each, without the end mark. A socket runs one response at a time: a
message that comes before the end of the response before it waits, and then reading stops after a few more. An error
that is about no response is ``{"type":"error","status","error"}``, and the socket goes on.

https://platform.openai.com/docs/guides/websocket-mode
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Literal

from flask import Flask, current_app, g, request
from gevent.event import Event
from pydantic import Field
from typing_extensions import TypedDict

from spool.access.caller import Caller
from spool.errors import SpoolError
from web import auth, bounded_json
from web.contract import Answer, Contract
from web.delivery.encoding import PerReader
from web.delivery.formats.ws_json import message_frame
from web.delivery.live import LiveStream
from web.delivery.websocket import json_object, socket_route
from web.error_problems import problem_of
from web.intake.idempotency import NO_KEY
from web.intake.shapes import checked
from web.openai.conversation_turns import accept_turn
from web.openai.errors import ErrorObject, error_document, status_of
from web.openai.response_draft import draft_of
from web.openai.response_events import ResponseStream
from web.openai.response_request import ResponsesRequest
from web.openai.sealed_reasoning import seal_of
from web.problems import Problem, field_problem
from web.request_ids import BEGAN
from web.server.websocket import WebSocket
from web.server.websocket_frames import text_frame
from web.server.websocket_protocol import Closed
from web.services import State
from web.translated_stream import TranslatedStream

_DATA = b"data: "
_NO_EVENT = b"[DONE]"
_LEAVES = 1001, "this instance is draining; reconnect"
_KEPT = ("SERVER_NAME", "SERVER_PORT", "REMOTE_ADDR", "PATH_INFO", "SCRIPT_NAME", "QUERY_STRING")


class ResponseCreate(ResponsesRequest):
    """Begins a response: the fields of ``POST /v1/responses``."""

    type: Literal["response.create"]
    generate: bool | None = Field(None, description="`false` is refused: Spool does not warm up models.")


class SocketEvent(TypedDict):
    """An event of a response. Its other fields depend on its type."""

    type: str
    sequence_number: int


class SocketError(TypedDict):
    """A message that could not be handled; no response exists."""

    type: Literal["error"]
    status: int
    error: ErrorObject


def install(app: Flask) -> None:
    """Register the route."""
    socket_route(app, "/v1/responses", "jobs:write", serve, takes_prompts=True)


@Contract(
    answers={101: Answer("The WebSocket. Its messages are in `x-websocket`.")},
    errors=[405, 426, 429, 503],
    receives=[ResponseCreate],
    sends=[SocketEvent, SocketError],
)
def serve(services: State, subprotocol: str | None) -> ResponseSession:  # noqa: ARG001 - there is one only
    """Answer messages until the client disconnects or this process drains."""
    contexts = partial(_context, current_app.request_context, _environ(request.environ))
    return ResponseSession(services, contexts, auth.caller())


def _context(
    context_of: Callable[[dict[str, Any]], AbstractContextManager[object]], environ: Mapping[str, Any]
) -> AbstractContextManager[object]:
    return context_of(dict(environ))


def _environ(environ: Mapping[str, Any]) -> dict[str, Any]:
    """What later messages need of the handshake: the caller's address, and the ids of the request."""
    kept = {name: environ[name] for name in environ if name in _KEPT or (name.startswith("spool.") and name != BEGAN)}
    return {"REQUEST_METHOD": "GET", "SERVER_PROTOCOL": "HTTP/1.1", "wsgi.url_scheme": "http", **kept}


def event_frames(data: bytes) -> bytes:
    """The events of a stream as text frames; comments and the end mark are left out."""
    # JSON contains no line end.
    lines = [line[len(_DATA) :] for line in data.split(b"\n") if line.startswith(_DATA)]
    return b"".join([text_frame(line) for line in lines if line != _NO_EVENT])


class ResponseSession:
    """One client's socket, and the response that it runs. ``context`` makes the context of a request, in which a
    message is handled."""

    __slots__ = (
        *("_address", "_caller", "_context", "_free", "_is_over", "_leave_at", "_on_gone", "_services", "_socket"),
    )

    def __init__(self, services: State, context: Callable[[], AbstractContextManager[object]], caller: Caller) -> None:
        self._services = services
        self._context = context
        self._caller = caller
        self._address = services.authenticator.address()
        self._leave_at: float | None = None
        self._is_over = False
        self._free = Event()
        self._free.set()
        self._on_gone: Callable[[], object] | None = None
        self._socket: WebSocket

    def begin(self, socket: WebSocket) -> None:
        """Wait for messages."""
        self._socket = socket
        socket.watch(self._end)

    def tick(self, now: float) -> None:
        """Close the socket when this process drains, unless a response runs."""
        if self._leave_at is not None:
            if now >= self._leave_at and self._free.is_set():
                self._socket.close_with(*_LEAVES)
        elif self._services.is_leaving:
            self._leave_at = now + random.random() * self._services.spread_s

    def message(self, raw: bytes) -> None:
        """Begin a response once the one before it has ended; answer errors with an ``error`` message. Raises
        ``Closed`` and ``OSError``."""
        self._wait(len(raw))
        if self._is_over:
            return
        if self._leave_at is not None and time.monotonic() >= self._leave_at:
            # Otherwise a client that always has a message waiting would stay for ever.
            raise Closed(*_LEAVES)
        try:
            message = json_object(raw)
            with self._context():
                g.caller = self._admit()
                self._create(message)
        except bounded_json.Refused as exc:
            self._refuse(field_problem("body", str(exc)))
        except Problem as problem:
            self._refuse(problem)
        except SpoolError as exc:
            self._refuse(problem_of(exc))

    def _wait(self, size: int) -> None:
        """Wait until the response before has ended. Meanwhile the message counts as input."""
        if not self._free.is_set():
            self._socket.keep(size)
            self._free.wait()
            self._socket.keep(0)

    def _admit(self) -> Caller:
        """Count the message. Answers the caller with its limits as they are now. Raises a 401 or 429 ``Problem``, and
        ``StoreUnavailable``."""
        authenticator = self._services.authenticator
        caller = authenticator.renewed(self._caller)
        authenticator.limits.admit(caller, self._address)
        return caller

    def _create(self, message: dict[str, Any]) -> None:
        if message.get("type") != "response.create":
            raise field_problem("type", "must be response.create")
        services, asked = self._services, checked(ResponseCreate, message)
        asked.check()
        if asked.generate is False:
            raise field_problem("generate", "must be true: Spool does not warm up models")
        draft, echo = draft_of(services, asked, NO_KEY)
        seal = seal_of(services, echo)
        job = accept_turn(services, draft, echo).job
        translation = ResponseStream(job, echo, seal=seal)
        stream = TranslatedStream(services.checkpoints, job, translation)
        with self._socket.turn():
            self._socket.send(event_frames(stream.opening()))
        if self._is_over:
            return
        # Patient: the socket closes by itself during a drain, once the response has ended.
        reader = services.follower.attach(job, 0, patient=True)
        release = partial(services.follower.leave, reader)
        self._free.clear()
        # The socket pings its client, so the stream needs no heartbeat.
        encoding = PerReader(stream, event_frames, services.folds)
        LiveStream(reader, encoding, b"", release, heartbeat_s=float("inf")).begin(_Channel(self._socket, self))

    def _refuse(self, problem: Problem) -> None:
        document = {"type": "error", "status": status_of(problem), **error_document(problem)}
        with self._socket.turn():
            self._socket.send(message_frame(document))

    def watch(self, on_gone: Callable[[], object]) -> None:
        """Call ``on_gone`` once the socket closes while its response runs."""
        self._on_gone = on_gone

    def ended(self) -> None:
        """Take the next message: the response has ended."""
        self._on_gone = None
        self._free.set()

    def _end(self) -> None:
        self._is_over = True
        on_gone, self._on_gone = self._on_gone, None
        if on_gone is not None:
            on_gone()
        self._free.set()


class _Channel:
    """The socket as the connection of one response's ``LiveStream``."""

    __slots__ = ("_session", "_socket")

    def __init__(self, socket: WebSocket, session: ResponseSession) -> None:
        self._socket = socket
        self._session = session

    @property
    def is_taken(self) -> bool:
        """Whether a sender has its turn."""
        return self._socket.is_taken

    def watch(self, on_gone: Callable[[], object]) -> None:
        """Call ``on_gone`` once the socket closes."""
        self._session.watch(on_gone)

    def turn(self) -> AbstractContextManager[None]:
        """Hold the right to send."""
        return self._socket.turn()

    def send_now(self, data: bytes | memoryview) -> None:
        """Send without blocking. Raises ``OSError``."""
        self._socket.send_now(data)

    def send(self, data: bytes | memoryview) -> None:
        """Send everything. Raises ``OSError``."""
        self._socket.send(data)

    def finish(self, data: bytes) -> None:
        """Send the last events of the response. Raises ``OSError``."""
        self._socket.send(data)
        self._session.ended()

    def close(self) -> None:
        """The stream has ended early, so the client would wait for its rest in vain."""
        self._session.ended()
        self._socket.close()
