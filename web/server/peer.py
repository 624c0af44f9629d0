"""The presence of a client: whether the other end of its connection is still there.

A WSGI server does not report that an idle client disconnected; only the second write to it fails. So its socket is
watched for readability, which shows a close at once and costs no greenlet and no timer.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from typing import Any

from spool import hub
from web.server.sockets import PlainSocket


def presence(environ: Mapping[str, Any]) -> Callable[[], bool]:
    """A function that returns whether this request's client is still connected."""
    sock = environ.get("gunicorn.socket")
    return lambda: sock is None or _peek(sock) != b""


def cut(environ: Mapping[str, Any]) -> None:
    """Close the connection of this request within its body, the only way to mark a bare body as incomplete."""
    sock = environ.get("gunicorn.socket")
    if sock is not None:
        sock.shutdown(socket.SHUT_RDWR)


class PeerWatch:
    """Calls ``on_gone`` once the client disconnects. A half-closed connection counts as disconnected, because clients
    that wait for an answer must keep both directions open. Without a socket (None) nothing is watched."""

    __slots__ = ("_on_gone", "_sock", "_watcher", "is_gone")

    def __init__(self, sock: Any, on_gone: Callable[[], object]) -> None:
        self.is_gone = False
        self._sock = sock
        self._on_gone = on_gone
        self._watcher: hub.Watcher | None = None
        if sock is not None:
            self._watcher = hub.readable(sock.fileno())
            self._watcher.start(self._readable)

    def close(self) -> None:
        """Stop watching."""
        if self._watcher is not None:
            self._watcher.stop()
            self._watcher.close()
            self._watcher = None

    def _readable(self) -> None:
        received = _peek(self._sock)
        if received is None:
            return
        # A pipelined request stays unread, and a disconnect is reported once. Either would fire for ever.
        if self._watcher is not None:
            self._watcher.stop()
        if not received:
            self.is_gone = True
            self._on_gone()


def _peek(sock: Any) -> bytes | None:
    """The client's next byte, left unread; ``b""`` at end of file, None if nothing was received."""
    try:
        # A plain socket on the same descriptor, because gevent's would block.
        plain = PlainSocket(sock.family, sock.type, sock.proto, sock.fileno())
    except OSError:
        return b""
    try:
        return plain.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return None
    except OSError:
        return b""
    finally:
        plain.detach()
