"""One connection to an upstream: connecting, TLS, sending and receiving, with ``httpx2``'s errors.

Under gevent, one watcher serves a whole answer. gevent's own ``recv`` first tries to read, which fails if tokens come
slowly, and then creates a new object for each wait.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial

import httpx2
from gevent import socket as gevent_socket
from greenlet import getcurrent, greenlet

from spool import hub

_READ_BYTES = 64 * 1024

Timeouts = Mapping[str, float | None]
"""``connect``, ``read``, ``write``: seconds for each system call; None or missing: no limit. The format of the
extension ``timeout`` in ``httpx2``'s requests."""


class Connection:
    """An open socket, for one request at a time. ``sent``: the last request was sent completely."""

    def __init__(self, sock: socket.socket) -> None:
        self.sent = True
        self._socket = sock
        self._receiver: _Receiver | None = None

    @classmethod
    def open(cls, host: str, port: int, tls: ssl.SSLContext | None, timeouts: Timeouts) -> Connection:
        """Connect; with ``tls``, verify that the server is ``host``. Raises ``ConnectError``, ``ConnectTimeout``."""
        with _named(httpx2.ConnectTimeout, httpx2.ConnectError):
            sock = socket.create_connection((host, port), timeouts.get("connect"))
            try:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return cls(tls.wrap_socket(sock, server_hostname=host) if tls else sock)
            except BaseException:
                sock.close()
                raise

    def send(self, data: bytes, timeouts: Timeouts) -> None:
        """Send all of ``data``. Raises ``WriteError``, ``WriteTimeout``."""
        self.sent = False
        left = memoryview(data)
        with _named(httpx2.WriteTimeout, httpx2.WriteError):
            self._socket.settimeout(timeouts.get("write"))
            while left:
                left = left[self._socket.send(left) :]
        self.sent = True

    @contextmanager
    def receiving(self, timeouts: Timeouts) -> Iterator[Callable[[], bytes]]:
        """A context with a function that receives the next bytes, ``b""`` at the end of the connection. Within the
        context, ``ReadError`` and ``ReadTimeout`` are raised."""
        timeout_s = timeouts.get("read")
        with _named(httpx2.ReadTimeout, httpx2.ReadError):
            self._socket.settimeout(timeout_s)
            if timeout_s is not None or type(self._socket) is not gevent_socket.socket:
                yield partial(self._socket.recv, _READ_BYTES)
                return
            self._receiver = receiver = _Receiver(self._socket)
            try:
                yield receiver.receive
            finally:
                receiver.close()

    def is_quiet(self) -> bool:
        """Whether nothing arrived since the last answer: neither the connection's end nor unsolicited bytes."""
        try:
            self._socket.settimeout(0)
            self._socket.recv(1)
        except (BlockingIOError, ssl.SSLWantReadError):
            return True
        except OSError:
            return False
        return False

    def rest(self) -> None:
        """Stop receiving for now."""
        if self._receiver is not None:
            self._receiver.close()
            self._receiver = None

    def close(self) -> None:
        """Close the connection, even during a call."""
        # First: libev aborts the process if a watcher's descriptor is closed.
        self.rest()
        self._socket.close()


class _Receiver:
    """Receives, in one greenlet at a time. The watcher stays started between two calls while nothing arrives."""

    def __init__(self, sock: socket.socket) -> None:
        self._recv = sock.recv
        self._switch = hub.switcher()
        self._watcher = hub.readable(sock.fileno())
        self._watched = False
        self._waiter: greenlet | None = None

    def receive(self) -> bytes:
        """The next bytes."""
        self._waiter = getcurrent()
        try:
            if not self._watched:
                self._watched = True
                self._watcher.start(self._wake)
            self._switch()
        finally:
            self._waiter = None
        # It blocks by itself if something else switched to this greenlet.
        return self._recv(_READ_BYTES)

    def _wake(self) -> None:
        # In the hub.
        if self._waiter is not None:
            self._waiter.switch()
        else:
            # The reader is busy elsewhere; without a stop the loop would call this again and again.
            self._watched = False
            self._watcher.stop()

    def close(self) -> None:
        """Close the watcher. Safe to call twice."""
        self._watcher.stop()
        self._watcher.close()


@contextmanager
def _named(timeout: type[httpx2.TimeoutException], error: type[httpx2.NetworkError]) -> Iterator[None]:
    """Translate errors of the system and of TLS into ``httpx2``'s."""
    try:
        yield
    except TimeoutError as exc:
        raise timeout(str(exc)) from exc
    except OSError as exc:
        raise error(str(exc)) from exc
