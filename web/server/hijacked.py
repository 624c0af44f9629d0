"""A hijacked HTTP connection in the middle of a response's body."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress

from gevent.socket import wait_write

from spool.deadline import Deadline
from web.limits.unsent import PIECE_BYTES, Unsent
from web.server.peer import PeerWatch
from web.server.sockets import PlainSocket, reset_on_close

log = logging.getLogger("spool.web")

_LAST_CHUNK = b"0\r\n\r\n"
_FREE = nullcontext()


class HijackedConnection:
    """The client's non-blocking socket. ``chunked``: the body has HTTP/1.1's framing (RFC 9112 section 7.1), which the
    sender of a piece adds; without it the end of the connection ends the body. ``give_back`` takes the socket after a
    complete body, for another request; without it, the socket is closed."""

    is_taken = False
    """It has one stream only."""
    __slots__ = ("_chunked", "_give_back", "_sock", "_stall_s", "_unsent", "_watch")

    def __init__(
        self,
        sock: PlainSocket,
        *,
        chunked: bool,
        give_back: Callable[[PlainSocket], None] | None,
        stall_s: float,
        unsent: Unsent,
    ) -> None:
        self._sock = sock
        self._chunked = chunked
        self._give_back = give_back if chunked else None
        self._stall_s = stall_s
        self._unsent = unsent
        self._watch: PeerWatch | None = None

    def turn(self) -> AbstractContextManager[None]:
        """Nothing to wait for."""
        return _FREE

    def fileno(self) -> int:
        """The descriptor, to watch it."""
        return self._sock.fileno()

    def receive(self, count: int) -> bytes | None:
        """Received bytes, at most ``count``; None if there are none, and ``b""`` if the client disconnected."""
        try:
            return self._sock.recv(count)
        except BlockingIOError:
            return None
        except OSError:
            return b""

    def end_sending(self) -> None:
        """Tell the client that nothing more will be sent."""
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)

    def watch(self, on_gone: Callable[[], object]) -> None:
        """Call ``on_gone`` once the client disconnects."""
        self._watch = PeerWatch(self._sock, on_gone)

    def send_now(self, data: bytes | memoryview) -> memoryview | None:
        """Send without blocking. Returns the rest, which the socket did not accept, or None. Raises ``OSError``."""
        try:
            sent = self._sock.send(data)
        except BlockingIOError:
            sent = 0
        return memoryview(data)[sent:] if sent < len(data) else None

    def send(self, data: bytes | memoryview) -> None:
        """Send everything, each 64 KiB within the stall limit. Raises ``OSError``; resets the connection of a client
        that stalls."""
        if not data or (left := self.send_now(data)) is None:
            return
        # Count all of it, not only the rest, because it is one object in memory.
        waiting = self._unsent.begin(len(data), self.reset)
        try:
            for at in range(0, len(left), PIECE_BYTES):
                self._send_piece(left[at : at + PIECE_BYTES])
                self._unsent.proceed(waiting)
        except TimeoutError:
            log.info("client stalled for %g s; resetting its connection", self._stall_s)
            self.reset()
            raise
        finally:
            self._unsent.end(waiting)

    def finish(self, data: bytes) -> None:
        """Send the last piece, which completes the body, and let go of the connection. Raises ``OSError``."""
        end = _LAST_CHUNK if self._chunked else b""
        if len(data) > PIECE_BYTES:
            # Not copied, because other connections may share it.
            self.send(data)
            self.send(end)
        else:
            self.send(data + end)
        self._unwatch()
        if self._give_back is not None:
            self._give_back(self._sock)
        else:
            self._sock.close()

    def close(self) -> None:
        """Close the connection; within a chunked body, the client notices that it is incomplete."""
        self._unwatch()
        self._sock.close()

    def _send_piece(self, piece: memoryview) -> None:
        deadline, left = Deadline.after(self._stall_s), self.send_now(piece)
        while left is not None:
            wait_write(self._sock.fileno(), timeout=max(0.001, deadline.left_s))
            left = self.send_now(left)

    def reset(self) -> None:
        """Reset the connection, possibly from another greenlet; the sender gets an error."""
        with suppress(OSError):
            reset_on_close(self._sock)
            self._sock.shutdown(socket.SHUT_RDWR)

    def _unwatch(self) -> None:
        if self._watch is not None:
            self._watch.close()
            self._watch = None
