"""A receiver of webhooks: a real HTTP server on a free port, which records what it gets and answers as it is told."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import orjson


@dataclass(frozen=True, slots=True)
class Received:
    """One request: its path, its headers by their names in lower case, and its body."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def event(self) -> dict[str, Any]:
        """The payload."""
        event: dict[str, Any] = orjson.loads(self.body)
        return event


@dataclass
class Receiver:
    """What a receiver got. ``statuses`` are its next answers, then ``status``. ``gate`` is cleared to make it slow: an
    answer waits for it."""

    url: str = ""
    status: int = 204
    statuses: list[int] = field(default_factory=list)
    location: str = ""
    received: list[Received] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)

    @property
    def ids(self) -> list[str]:
        """The ``webhook-id`` of each request, in the order of coming."""
        return [each.headers["webhook-id"] for each in self.received]

    @property
    def subjects(self) -> list[str]:
        """The id of the job or batch of each request."""
        return [each.event["data"]["id"] for each in self.received]


def _handler(receiver: Receiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            receiver.received.append(Received(self.path, headers, body))
            status = receiver.statuses.pop(0) if receiver.statuses else receiver.status
            receiver.gate.wait(30)
            self.send_response(status)
            if receiver.location:
                self.send_header("Location", receiver.location)
            self.end_headers()

        def log_message(self, *_args: object) -> None:
            """Nothing is logged."""

    return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_args: object) -> None:
        """A sender that leaves is no error."""


@contextmanager
def receiving(host: str = "127.0.0.1", port: int = 0, context: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    """A receiver that runs meanwhile."""
    receiver = Receiver()
    receiver.gate.set()
    server = _Server((host, port), _handler(receiver))
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    receiver.url = f"{'https' if context else 'http'}://{host}:{server.server_port}/hook"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.gate.set()
        server.shutdown()
        server.server_close()
        thread.join()
