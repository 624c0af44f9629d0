"""Streams leave the server: their connections are taken from gunicorn once the headers are out.

``Hijack`` stands between gunicorn and the application. Where the application answers with a stream of its own kind
(``web.delivery.live``), it sends the headers the way of WSGI and takes the socket. To gunicorn the answer is then one
that something else has sent.
"""

from __future__ import annotations

import _socket
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from flask import Response
from gunicorn.workers.base_async import ALREADY_HANDLED

from web.problems import Problem

_STREAM = "spool.stream"

StartResponse = Callable[..., Callable[[bytes], object]]
Application = Callable[[dict[str, Any], StartResponse], Iterable[bytes]]


class Stream(Protocol):
    """What is written to a connection that has left the server."""

    opening: bytes
    """What comes right behind the headers."""

    def begin(self, sock: _socket.socket, *, chunked: bool, give_back: Callable[[_socket.socket], None] | None) -> None:
        """Write to this socket from now on; ``give_back`` takes it where it can carry another request."""
        ...

    def abandon(self) -> None:
        """It does not begin."""
        ...


class Connections(Protocol):
    """Who has the connections: a worker of the server."""

    def give(self, sock: Any, stream: Stream, *, chunked: bool) -> None:
        """Begin the stream on the connection, which the server lets go of."""
        ...


class StreamResponse(Response):
    """An answer whose body is a stream of this kind."""

    def __init__(self, stream: Stream, mimetype: str, headers: Mapping[str, str]) -> None:
        super().__init__(mimetype=mimetype, headers=headers)
        self._stream = stream

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """The headers; the stream is left for ``Hijack``. Raises ``RuntimeError`` where there is none."""
        if _STREAM not in environ:
            self._stream.abandon()
            raise RuntimeError("streams need the server that web/gunicorn.conf.py sets up")
        if not _has_no_body_left(environ):
            self._stream.abandon()
            problem = Problem(413, "Request entity too large", "a request for a stream may not have such a body")
            return problem.response()(environ, start_response)
        environ[_STREAM] = self._stream
        # Not a length of 0: nobody knows how long it will be.
        self.headers.pop("Content-Length", None)
        start_response(self.status, self.headers.to_wsgi_list())
        return ()


class Hijack:
    """The application as gunicorn sees it. The server's worker has the connections."""

    def __init__(self, app: Application, connections: Connections) -> None:
        self._app = app
        self._connections = connections

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        if environ.get("HTTP_UPGRADE", "").lower() == "websocket" and not _has_no_body_left(environ):
            # It would be taken for frames.
            problem = Problem(400, "Bad handshake", "a WebSocket begins with a request that has no body")
            return problem.response()(environ, start_response)
        writes: list[Callable[[bytes], object]] = []

        def begin(*args: Any) -> Callable[[bytes], object]:
            writes.append(start_response(*args))
            return writes[-1]

        environ[_STREAM] = None
        body = self._app(environ, begin)
        stream: Stream | None = environ.pop(_STREAM)
        if stream is None:
            return body
        try:
            # Even if it is empty: the headers go with it, and a silent job must not hold them back.
            writes[-1](stream.opening)
            self._connections.give(environ["gunicorn.socket"], stream, chunked=environ["SERVER_PROTOCOL"] == "HTTP/1.1")
        except BaseException:
            stream.abandon()
            raise
        return ALREADY_HANDLED  # type: ignore[no-any-return]


def _has_no_body_left(environ: dict[str, Any]) -> bool:
    """Whether the next bytes on the connection are not the request's, after what is left of its body was skipped."""
    leave = getattr(environ.get("wsgi.input"), "leave", None)
    return leave is None or bool(leave())
