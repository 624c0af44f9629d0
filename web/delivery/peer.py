"""The client at the other end of a request: whether it is still there, and what is sent to it."""

from __future__ import annotations

import _socket
from collections.abc import Callable, Mapping
from typing import Any

from gevent.hub import get_hub

_READ = 1
_WITH_FRAME_BYTES = 64 * 1024
"""A larger piece is not copied into its frame."""


def _peek(sock: Any) -> bytes | None:
    """The next byte that the client has sent, left in place; ``b""`` at its end, None while there is neither."""
    try:
        # The plain socket underneath: gevent's own would wait for something to read.
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
    """Asks whether the client of this request is still there."""
    sock = environ.get("gunicorn.socket")
    return lambda: sock is None or _peek(sock) != b""


class Peer:
    """The client's end of a stream's connection.

    A WSGI server tells nobody that an idle client left, and only the second write to it fails. So its socket is
    watched for becoming readable, which is how a close shows at once; it costs no greenlet and no timer.
    """

    __slots__ = ("_chunked", "_sock", "_watcher")

    def __init__(self, environ: dict[str, Any]) -> None:
        self._sock: Any = environ.get("gunicorn.socket")
        self._chunked = environ.get("SERVER_PROTOCOL") == "HTTP/1.1"
        self._watcher: Any = None

    def send(self, data: bytes) -> bytes:
        """Send a piece of a body of unknown length that has begun, framed as the server would (RFC 9112 section 7.1),
        but not through the layers of WSGI, which cost as much as the rest of a token. Answers what is to be yielded
        instead: nothing, or all of it where the socket is not to be had. Raises ``OSError`` as a write of the server's
        would."""
        if self._sock is None or not data:
            return data
        if len(data) > _WITH_FRAME_BYTES:
            # Not twice in memory while the client takes its time.
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
        """Call ``wake`` when the connection is readable: the client left, or said something."""
        if self._sock is not None:
            self._watcher = get_hub().loop.io(self._sock.fileno(), _READ)
            self._watcher.start(wake)

    @property
    def gone(self) -> bool:
        """Whether the client has closed its end. A client that only stopped sending counts as gone: streams are
        for clients that keep their connection whole."""
        if self._watcher is None:
            return False
        seen = _peek(self._sock)
        if seen:
            # A pipelined request; it waits its turn, and must not wake the stream for ever.
            self.close()
        return seen == b""

    def cut(self) -> None:
        """Close the connection in the middle of the body: the one way to say on a bare body that it is not whole."""
        if self._sock is not None:
            self._sock.shutdown(_socket.SHUT_RDWR)

    def close(self) -> None:
        """Watch no more."""
        if self._watcher is not None:
            self._watcher.stop()
            self._watcher.close()
            self._watcher = None
