"""An OpenAI-compatible server on a free loopback port that does what a test's script says, to the byte.

    def script(call: Call) -> None:
        call.begin()                   # the headers of an event stream
        call.text("Hello")             # a chunk of a chat completion
        call.hold()                    # nothing more, until the client hangs up or the test says `call.go_on()`

    with ScriptedUpstream(refuses(429), script) as upstream:
        ...                            # the first call is refused, all others get the script

``upstream.calls`` has what was asked, and when clients went away. A script that returns ends its answer properly;
``drop`` cuts it off. Scripts run in threads of their own.
"""

from __future__ import annotations

import json
import os
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

WAIT_S = 60.0
EVENT_STREAM = {"Content-Type": "text/event-stream"}


def wait_until(condition: Callable[[], Any], what: str, timeout_s: float = WAIT_S) -> None:
    """Return once ``condition`` holds; ``AssertionError`` with ``what`` was awaited after ``timeout_s``."""
    until = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until, f"waited {timeout_s:g} s in vain for: {what}"
        time.sleep(0.002)


class Call:
    """One request, and the means to answer it. ``gone_at``: when its client was seen to be gone (monotonic)."""

    def __init__(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        self.method = handler.command
        self.path = handler.path
        self.headers = {name.lower(): value for name, value in handler.headers.items()}
        self.body: dict[str, Any] = json.loads(body) if body else {}
        self.at = time.monotonic()
        self.gone_at: float | None = None
        self.begun = False
        self._handler = handler
        self._socket = handler.connection
        self._go_on = threading.Event()

    def begin(self, status: int = 200, headers: Mapping[str, str] = EVENT_STREAM) -> None:
        """Send status and headers of a chunked answer."""
        self._handler.send_response(status)
        for name, value in {**headers, "Transfer-Encoding": "chunked"}.items():
            self._handler.send_header(name, value)
        self._handler.end_headers()
        self.begun = True

    def send(self, data: bytes) -> None:
        """Send bytes as they are, as one network write."""
        try:
            self._socket.sendall(b"%x\r\n%b\r\n" % (len(data), data))
        except OSError:
            self._is_gone()
            raise

    def event(self, chunk: object) -> None:
        """Send an object as one event."""
        self.send(b"data: " + json.dumps(chunk, ensure_ascii=False).encode() + b"\n\n")

    def delta(self, finish_reason: str | None = None, **delta: Any) -> None:
        """Send one chunk of a chat completion."""
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
        self.event({"object": "chat.completion.chunk", "choices": [choice]})

    def text(self, text: str) -> None:
        """Send a piece of the answer."""
        self.delta(content=text)

    def done(self, finish_reason: str = "stop", usage: tuple[int, int] | None = None) -> None:
        """Send the end as OpenAI does: finish reason, usage, ``[DONE]``."""
        self.delta(finish_reason)
        if usage:
            counts = {"prompt_tokens": usage[0], "completion_tokens": usage[1], "total_tokens": sum(usage)}
            self.event({"choices": [], "usage": counts})
        self.send(b"data: [DONE]\n\n")

    def json(self, status: int, body: object, headers: Mapping[str, str] | None = None) -> None:
        """Answer with JSON instead of a stream."""
        self.begin(status, {"Content-Type": "application/json", **(headers or {})})
        self.send(json.dumps(body).encode())

    def hold(self, timeout_s: float = WAIT_S) -> None:
        """Do nothing until the client is gone or ``go_on`` is called."""
        until = time.monotonic() + timeout_s
        while time.monotonic() < until and not self._go_on.is_set():
            if select.select([self._socket], [], [], 0.01)[0] and self._closed():
                self._is_gone()
                raise ConnectionAbortedError
        self._go_on.clear()

    def go_on(self) -> None:
        """End the ``hold``."""
        self._go_on.set()

    def break_off(self) -> None:
        """Close the connection within the body, after all that was sent: a reset may overtake it."""
        self._socket.shutdown(socket.SHUT_WR)
        raise ConnectionAbortedError

    def drop(self) -> None:
        """Cut the connection off with a reset, in the middle of whatever it is."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os.close(self._socket.detach())  # close() would wait for the handler's files
        raise ConnectionAbortedError

    def _closed(self) -> bool:
        try:
            return self._socket.recv(1, socket.MSG_PEEK) == b""
        except OSError:
            return True

    def _is_gone(self) -> None:
        self.gone_at = self.gone_at or time.monotonic()


Script = Callable[[Call], None]


def says(*texts: str, usage: tuple[int, int] | None = None) -> Script:
    """A script that answers with ``texts``, one a chunk."""

    def script(call: Call) -> None:
        call.begin()
        call.delta(role="assistant", content="")
        for text in texts:
            call.text(text)
        call.done(usage=usage)

    return script


def sends(*writes: bytes) -> Script:
    """A script that sends these bytes as an event stream, one network write each."""

    def script(call: Call) -> None:
        call.begin()
        for data in writes:
            call.send(data)

    return script


def refuses(status: int, message: str = "no", code: str | None = None, **headers: str) -> Script:
    """A script that answers with an error; ``headers`` with ``_`` for ``-``."""

    def script(call: Call) -> None:
        error = {"error": {"message": message, "type": "error", "code": code}}
        call.json(status, error, {name.replace("_", "-"): value for name, value in headers.items()})

    return script


class ScriptedUpstream:
    """The server: the N-th call gets the N-th script, and those after the last get the last. ``port`` 0: a free one."""

    def __init__(self, *scripts: Script, port: int = 0) -> None:
        self.scripts = list(scripts)
        self.calls: list[Call] = []
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", port), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    @property
    def url(self) -> str:
        """What a client takes for the base of the API."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def wait_for_call(self, number: int = 1) -> Call:
        """The ``number``-th call, counted from 1, once it is there."""
        wait_until(lambda: len(self.calls) >= number, f"call {number} at the upstream")
        return self.calls[number - 1]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for call in self.calls:
            call.go_on()
        self._server.shutdown()
        self._server.server_close()

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        call = Call(handler, body)
        with self._lock:
            self.calls.append(call)
            script = self.scripts[min(len(self.calls), len(self.scripts)) - 1]
        try:
            script(call)
            if call.begun:
                handler.connection.sendall(b"0\r\n\r\n")
        except OSError:
            handler.close_connection = True

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        serve = self._serve

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle(self) -> None:
                try:
                    super().handle()
                except OSError:
                    self.close_connection = True

            def finish(self) -> None:
                try:
                    super().finish()
                except (OSError, ValueError):
                    self.close_connection = True

            def do_POST(self) -> None:
                serve(self)

            do_GET = do_POST  # noqa: N815

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024

    def handle_error(self, *_: object) -> None:
        """A client that went away is part of the script."""
