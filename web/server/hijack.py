"""Hijack of streams' connections from gunicorn after the headers.

``Hijack`` is a WSGI middleware between gunicorn and the application. If the application answers with a stream
(``web.delivery.live``), it sends the headers through WSGI and takes the socket. For gunicorn, the response has then
already been handled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from flask import Response
from gunicorn.workers.base_async import ALREADY_HANDLED

from web.problems import Problem
from web.request_ids import identify
from web.server.hijacked import HijackedConnection

_STREAM = "spool.stream"

StartResponse = Callable[..., Callable[[bytes], object]]
Application = Callable[[dict[str, Any], StartResponse], Iterable[bytes]]


class Stream(Protocol):
    """A stream on a hijacked connection."""

    opening: bytes
    """The bytes sent directly after the headers."""

    def begin(self, connection: HijackedConnection) -> None:
        """Start writing to this connection."""
        ...

    def abandon(self) -> None:
        """Release the stream, which does not begin or must end."""
        ...


class Connections(Protocol):
    """The owner of the connections: a gunicorn worker."""

    def give(self, sock: Any, stream: Stream, *, chunked: bool) -> None:
        """Hand the connection to the stream and begin it."""
        ...


class StreamResponse(Response):
    """A response whose body is a ``Stream``."""

    def __init__(self, stream: Stream, mimetype: str, headers: Mapping[str, str]) -> None:
        super().__init__(mimetype=mimetype, headers=headers)
        self._stream = stream

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Send the headers and leave the stream to ``Hijack``. Raises ``RuntimeError`` without ``Hijack``."""
        if _STREAM not in environ:
            self._stream.abandon()
            raise RuntimeError("streams need gunicorn with web/gunicorn.conf.py")
        if not _has_no_body_left(environ):
            self._stream.abandon()
            problem = Problem(413, "Request entity too large", "the body of a request for a stream is too large")
            return problem.response()(environ, start_response)
        environ[_STREAM] = self._stream
        # Remove Flask's length of 0: the real length is unknown.
        self.headers.pop("Content-Length", None)
        start_response(self.status, self.headers.to_wsgi_list())
        return ()


class UpgradeResponse(StreamResponse):
    """The response after a handshake, which has been sent: its stream gets the connection."""

    def __init__(self, stream: Stream) -> None:
        super().__init__(stream, "", {})

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:  # noqa: ARG002 - WSGI's
        """Leave the stream to ``Hijack``, which has checked that the request had no body."""
        environ[_STREAM] = self._stream
        return ()


class Hijack:
    """The WSGI middleware. ``connections`` is the gunicorn worker."""

    def __init__(self, app: Application, connections: Connections) -> None:
        self._app = app
        self._connections = connections

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request; hand its connection over if the response is a stream."""
        if environ.get("HTTP_UPGRADE", "").lower() == "websocket" and not _has_no_body_left(environ):
            # The body would be read as frames.
            problem = Problem(400, "Bad handshake", "a WebSocket handshake must not have a body")
            return problem.response()(environ, identify(environ, start_response))
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
            if writes:
                # Written even if empty, because it sends the headers, and a silent job must not delay them.
                writes[-1](stream.opening)
            self._connections.give(environ["gunicorn.socket"], stream, chunked=environ["SERVER_PROTOCOL"] == "HTTP/1.1")
        except BaseException:
            stream.abandon()
            raise
        return ALREADY_HANDLED  # type: ignore[no-any-return]


def _has_no_body_left(environ: dict[str, Any]) -> bool:
    """Drain the rest of the request's body. Returns whether the next bytes on the connection are not part of it."""
    leave = getattr(environ.get("wsgi.input"), "leave", None)
    return leave is None or bool(leave())
