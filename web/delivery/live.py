"""Live SSE and NDJSON streams after their headers: hijacked connections without a greenlet or a request.

A WSGI server keeps a greenlet, its stack and the request's objects for as long as a response lasts, and passes each
piece through every layer. A stream lasts for minutes and sends little. So its connection is hijacked from the server
(``web.server.hijack``). While the stream is live, new entries are written to the socket at once. Only work that may
block, on Redis or on a slow client, runs in a greenlet, which ends when the stream is live again.
"""

from __future__ import annotations

import _socket
import logging
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

import gevent
from gevent.hub import get_hub
from gevent.socket import wait_write

from spool.deadline import Deadline
from spool.errors import StoreUnavailable
from spool.following.encoder import Encoder
from spool.following.reader import Batch, Reader
from spool.jobs.log import Gap
from web.limits.unsent import PIECE_BYTES, Unsent
from web.server.sockets import reset_on_close

log = logging.getLogger("spool.web")

_READ = 1
_LAST_CHUNK = b"0\r\n\r\n"


class Format(Encoder, Protocol):
    """A pushed format: encodes entries and control events as bytes."""

    media_type: str

    def opening(self, attached: dict[str, Any]) -> bytes: ...
    def gap(self, gap: Gap) -> bytes: ...
    def gone(self) -> bytes: ...
    def heartbeat(self, last: int) -> bytes: ...
    def reconnect(self) -> bytes: ...
    def unavailable(self, reason: str, detail: str) -> bytes: ...


class LiveStream:
    """One stream. ``begin`` gives it its connection. It ends by itself, and then calls ``release``."""

    __slots__ = (
        "_busy",
        "_chunked",
        "_form",
        "_give_back",
        "_has_changed",
        "_heartbeat_s",
        "_is_gone",
        "_reader",
        "_release",
        "_sock",
        "_stall_s",
        "_unsent",
        "_watcher",
        "opening",
    )

    def __init__(
        self,
        reader: Reader,
        form: Format,
        opening: bytes,
        release: Callable[[], None],
        *,
        heartbeat_s: float,
        stall_s: float,
        unsent: Unsent,
    ) -> None:
        self.opening = opening
        """The bytes sent with the headers."""
        self._reader = reader
        self._form = form
        self._release = release
        # Half a second early, because the follower checks idle readers twice a second.
        self._heartbeat_s = max(heartbeat_s - 0.5, heartbeat_s * 0.5)
        self._stall_s = stall_s
        self._unsent = unsent
        self._sock: Any = None
        self._give_back: Callable[[_socket.socket], None] | None = None
        self._chunked = True
        self._watcher: Any = None
        self._is_gone = False
        self._busy = False
        self._has_changed = False

    def begin(self, sock: _socket.socket, *, chunked: bool, give_back: Callable[[_socket.socket], None] | None) -> None:
        """Continue after the opening, which has been sent, on a non-blocking socket. ``chunked``: HTTP/1.1's framing
        (RFC 9112 section 7.1); without it the end of the connection ends the body. ``give_back`` takes the socket
        after a complete response, for another request; without it, the socket is closed."""
        self._sock, self._chunked, self._give_back = sock, chunked, give_back
        self._watcher = get_hub().loop.io(sock.fileno(), _READ)
        self._watcher.start(self._readable)
        self._reader.on_wake = self.look
        self._schedule_heartbeat()
        self.look()

    def abandon(self) -> None:
        """End the stream at once, without sending the rest. Works also before ``begin``."""
        self._release_all()
        sock, self._sock = self._sock, None
        if sock is not None:
            sock.close()

    def look(self) -> bool:
        """React to new entries, a heartbeat tick or a drain. Called from the follower's greenlets, so it never
        blocks."""
        reader = self._reader
        if self._busy:
            self._has_changed = True
        elif not reader.feed.ended and (data := reader.take_live(self._form)) is not None:
            if left := self._send(data):
                self._run(left)
        elif reader.has_news() or reader.must_leave or time.monotonic() >= reader.tick_at:
            self._run(b"")
        return True

    def _readable(self) -> None:
        """The client disconnected or sent something. A half-closed connection counts as disconnected, because clients
        of streams must keep both directions open."""
        try:
            received = self._sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return
        except OSError:
            received = b""
        if received or self._busy:
            # A pipelined request stays unread, and a close while busy is handled later. Either would fire for ever.
            self._watcher.stop()
            self._is_gone = not received
        else:
            self.abandon()

    def _send(self, data: bytes) -> bytes | memoryview:
        """Send a piece without blocking. Returns the part that the socket did not accept."""
        data = self._framed(data)
        try:
            sent = self._sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.abandon()
            return b""
        self._schedule_heartbeat()
        return memoryview(data)[sent:] if sent < len(data) else b""

    def _framed(self, data: bytes) -> bytes:
        return chunk(data) if self._chunked and data else data

    def _schedule_heartbeat(self) -> None:
        self._reader.tick_at = time.monotonic() + self._heartbeat_s

    def _release_all(self) -> None:
        self._reader.on_wake = None
        if self._watcher is not None:
            self._watcher.stop()
            self._watcher.close()
            self._watcher = None
        # Release once only, however the stream ends.
        release, self._release = self._release, _nothing
        release()

    # Blocking work, in a greenlet.

    def _run(self, left: bytes | memoryview) -> None:
        self._busy = True
        gevent.spawn(self._catch_up, left)

    def _catch_up(self, left: bytes | memoryview) -> None:
        """Send the rest of a piece and all pending entries, then become live again."""
        try:
            self._send_all(left)
            self._send_pending()
        except TimeoutError:
            log.info("client stalled for %g s; resetting its connection", self._stall_s)
            with suppress(OSError):
                reset_on_close(self._sock)
            self.abandon()
        except OSError:
            # The client disconnected.
            self.abandon()
        except Exception:
            # The greenlet's boundary: without this the stream would never end.
            log.exception("stream failed")
            self.abandon()

    def _send_pending(self) -> None:
        reader = self._reader
        while not self._is_gone:
            self._has_changed = False
            try:
                taken = reader.take(self._form)
            except StoreUnavailable:
                reason, detail = "Store unavailable", "Redis is unreachable or does not answer"
                self._end(self._form.unavailable(reason, detail))
                return
            data = self._bytes_of(taken) if taken is not None else b""
            if taken is not None and taken.ended:
                self._end(data)
                return
            if taken is None and time.monotonic() >= reader.tick_at:
                data = self._form.heartbeat(reader.cursor)
                self._schedule_heartbeat()
            is_silent = taken is None
            # Free the page and the unframed piece, so that a slow client does not keep them in memory.
            del taken
            data = self._framed(data)
            self._send_all(data)
            if reader.must_leave:
                self._end(self._form.reconnect())
                return
            if is_silent and not self._has_changed and not reader.has_news():
                self._busy = False
                return
        self.abandon()

    def _bytes_of(self, taken: Batch) -> bytes:
        data = self._form.gap(taken.gap) + taken.data if taken.gap is not None else taken.data
        return data + self._form.gone() if taken.gone else data

    def _end(self, data: bytes) -> None:
        """Send the last piece, which completes the body."""
        self._send_all(self._framed(data) + (_LAST_CHUNK if self._chunked else b""))
        self._release_all()
        sock, self._sock = self._sock, None
        if self._chunked and self._give_back is not None:
            self._give_back(sock)
        else:
            sock.close()

    def _send_all(self, data: bytes | memoryview) -> None:
        """Send everything, each 64 KiB within the stall limit. Raises ``OSError``; ``TimeoutError`` for a stall."""
        view = memoryview(data)
        sent = self._send_now(view)
        if sent < len(view):
            waiting = self._unsent.begin(len(view), self._reset)
            try:
                for at in range(sent, len(view), PIECE_BYTES):
                    self._send_piece(view[at : at + PIECE_BYTES])
                    self._unsent.proceed(waiting)
            finally:
                self._unsent.end(waiting)
        if view:
            self._schedule_heartbeat()

    def _send_piece(self, left: memoryview) -> None:
        deadline = Deadline.after(self._stall_s)
        while left := left[self._send_now(left) :]:
            wait_write(self._sock.fileno(), timeout=max(0.001, deadline.left_s))

    def _send_now(self, data: memoryview) -> int:
        """Send without blocking. Returns the number of bytes sent."""
        if not data:
            return 0
        try:
            sent: int = self._sock.send(data)
        except BlockingIOError:
            return 0
        return sent

    def _reset(self) -> None:
        """Reset the connection from another greenlet; the sender gets an error."""
        with suppress(OSError):
            reset_on_close(self._sock)
            self._sock.shutdown(socket.SHUT_RDWR)


def _nothing() -> None:
    """Replaces ``release`` after its call."""


_framed: tuple[bytes, bytes] = b"", b""


def chunk(data: bytes) -> bytes:
    """Non-empty bytes as an HTTP/1.1 chunk (RFC 9112 section 7.1). The last one is cached, because the readers of a
    log are woken one after the other with the identical piece."""
    global _framed
    before, framed = _framed
    if data is not before:
        framed = b"%X\r\n%b\r\n" % (len(data), data)
        _framed = data, framed
    return framed
