"""The client's end of a request's connection: its presence, and sending to it."""

from __future__ import annotations

import _socket
from collections.abc import Callable, Mapping
from typing import Any

from gevent.hub import get_hub

_READ = 1
_WITH_FRAME_BYTES = 64 * 1024
"""Larger pieces are not copied into their chunk frame."""


def _peek(sock: Any) -> bytes | None:
    """The client's next byte, left unread; ``b""`` at end of file, None if nothing was received."""
    try:
        # A plain socket on the same descriptor, because gevent's would block.
        plain = _socket.socket(sock.family, sock.type, sock.proto, sock.fileno())
    except OSError:
        return b""
    try:
        return plain.recv(1, _socket.MSG_PEEK | _socket.MSG_DONTWAIT)
    except BlockingIOError:
        return None
    except OSError:
        return b""
    finally:
        plain.detach()


def presence(environ: Mapping[str, Any]) -> Callable[[], bool]:
    """A function that returns whether this request's client is still connected."""
    sock = environ.get("gunicorn.socket")
    return lambda: sock is None or _peek(sock) != b""


class Peer:
    """The client's end of a stream's connection.

    A WSGI server does not report that an idle client disconnected; only the second write to it fails. So its socket is
    watched for readability, which shows a close at once and costs no greenlet and no timer.
    """

    __slots__ = ("_chunked", "_sock", "_watcher")

    def __init__(self, environ: dict[str, Any]) -> None:
        self._sock: Any = environ.get("gunicorn.socket")
        self._chunked = environ.get("SERVER_PROTOCOL") == "HTTP/1.1"
        self._watcher: Any = None

    def send(self, data: bytes) -> bytes:
        """Send a piece of a started body of unknown length, framed as the server would (RFC 9112 section 7.1). It
        bypasses the WSGI layers, which cost as much as the rest of a token. Returns the bytes to yield instead: none,
        or all of them if the socket is unavailable. Raises ``OSError``, like a write by the server."""
        if self._sock is None or not data:
            return data
        if len(data) > _WITH_FRAME_BYTES:
            # Sent in parts, so that a slow client does not keep two copies in memory.
            for part in (b"%X\r\n" % len(data), data, b"\r\n") if self._chunked else (data,):
                self._sock.sendall(part)
            return b""
        if self._chunked:
            data = b"%X\r\n%b\r\n" % (len(data), data)
        sent = self._sock.send(data)
        if sent < len(data):
            self._sock.sendall(memoryview(data)[sent:])
        return b""

    def watch(self, wake: Callable[[], None]) -> None:
        """Call ``wake`` when the connection becomes readable: the client disconnected or sent something."""
        if self._sock is not None:
            self._watcher = get_hub().loop.io(self._sock.fileno(), _READ)
            self._watcher.start(wake)

    @property
    def gone(self) -> bool:
        """Whether the client disconnected. A half-closed connection counts as disconnected, because clients of streams
        must keep both directions open."""
        if self._watcher is None:
            return False
        seen = _peek(self._sock)
        if seen:
            # A pipelined request stays unread. Stop watching, or it would wake the stream for ever.
            self.close()
        return seen == b""

    def cut(self) -> None:
        """Close the connection within the body: the only way to mark a bare body as incomplete."""
        if self._sock is not None:
            self._sock.shutdown(_socket.SHUT_RDWR)

    def close(self) -> None:
        """Stop watching."""
        if self._watcher is not None:
            self._watcher.stop()
            self._watcher.close()
            self._watcher = None
