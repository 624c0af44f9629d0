"""The socket under a redis-py connection: the only use of redis-py's internals.

redis-py's own writes and reads cost several times as much: gevent's ``sendall`` queries the size of the socket's buffer
each time, and redis-py's parser returns one pub/sub message at a time.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import hiredis
from redis import exceptions as theirs

_RECEIVE_BYTES = 64 * 1024


def socket_of(connection: Any) -> socket.socket:
    """The connection's socket. Raises redis-py's ``ConnectionError`` if it is closed, and ``RuntimeError`` if the
    installed redis-py keeps it elsewhere: as an ``AttributeError`` that would pass for a lost connection."""
    try:
        sock: socket.socket | None = connection._sock
    except AttributeError as exc:
        raise RuntimeError("the installed redis-py has no Connection._sock: install a version from pyproject") from exc
    if sock is None:
        raise theirs.ConnectionError("Connection closed")
    return sock


def write(connection: Any, packed: bytes) -> None:
    """Send packed commands. Raises redis-py's ``ConnectionError`` and ``TimeoutError``."""
    sock = socket_of(connection)
    try:
        sent = sock.send(packed)
        if sent < len(packed):
            sock.sendall(memoryview(packed)[sent:])
    except TimeoutError as exc:
        raise theirs.TimeoutError("Timeout writing to socket") from exc
    except OSError as exc:
        raise theirs.ConnectionError(f"Error while writing to socket: {exc.strerror}") from exc


def wait_for_ever(connection: Any) -> None:
    """Remove the time limit of the connection's reads and writes."""
    connection.socket_timeout = None
    socket_of(connection).settimeout(None)


def read_batches(connection: Any) -> Iterator[list[Any]]:
    """Yield the RESP2 replies of each read as one list; end with the connection. Raises ``OSError``."""
    sock, parser = socket_of(connection), hiredis.Reader()
    while data := sock.recv(_RECEIVE_BYTES):
        parser.feed(data)
        if replies := list(iter(parser.gets, False)):
            yield replies
