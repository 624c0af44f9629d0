"""One live WebSocket (RFC 6455) on a hijacked connection: no greenlet and no request behind it while it is idle.

A watcher reads what the client sends, at most 4 KiB at a time, and not while messages or replies wait. So TCP's flow
control slows down a client that sends faster than its messages are handled. Only work that may block runs in a
greenlet: a message of the client, or the rest of a frame that the socket did not accept.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol

import gevent

from spool import hub
from web.server.frame_writer import FrameWriter
from web.server.hijacked import HijackedConnection
from web.server.websocket_frames import PING, close_frame
from web.server.websocket_input import Input, InputLimits
from web.server.websocket_protocol import Closed
from web.ticker import Ticker

log = logging.getLogger("spool.web")

PING_S = 25.0
_READ_BYTES = 4096
_REPLIES_BYTES = 4096
"""The most bytes of unsent replies before reading stops."""
_LINGER_S = 2.0
"""Seconds to wait for the client's close. To close with its data unread would reset the connection and lose the close
frame with the reason (RFC 6455 section 7.1.1)."""
_LINGER_BYTES = 256 * 1024
"""The most bytes to discard during that wait."""


class Session(Protocol):
    """What a socket serves."""

    def begin(self, socket: WebSocket) -> None:
        """Serve this socket, which is open."""
        ...

    def message(self, raw: bytes) -> None:
        """Handle one message. May block. Raises ``Closed`` to close the socket."""
        ...

    def tick(self, now: float) -> None:
        """Check deadlines. Must not block."""
        ...


class WebSocket:
    """One socket. ``begin`` gives it its connection. It ends by itself, and then calls ``release``."""

    opening = b""
    __slots__ = (
        "_connection",
        "_discarded",
        "_input",
        "_is_closing",
        "_is_gone",
        "_is_handling",
        "_is_parsing",
        "_kept",
        "_limits",
        "_linger_until",
        "_on_gone",
        "_ping_at",
        "_release",
        "_session",
        "_ticker",
        "_watcher",
        "_writer",
    )

    def __init__(self, session: Session, limits: InputLimits, release: Callable[[], None], ticker: Ticker) -> None:
        self._session = session
        self._limits = limits
        self._release = release
        self._ticker = ticker
        self._connection: HijackedConnection
        self._watcher: Any = None
        self._writer: FrameWriter
        self._input = Input(limits.most)
        self._kept = 0
        self._on_gone: Callable[[], object] = _nothing
        self._is_closing = False
        self._is_gone = False
        self._is_handling = False
        self._is_parsing = False
        self._ping_at = 0.0
        self._linger_until = float("inf")
        self._discarded = 0

    def begin(self, connection: HijackedConnection) -> None:
        """Serve the session on this connection, after the handshake."""
        self._connection = connection
        self._writer = FrameWriter(connection, self._settle)
        self._watcher = hub.readable(connection.fileno())
        self._ping_at = time.monotonic() + PING_S
        self._ticker.add(self)
        self._read_on()
        self._session.begin(self)

    def abandon(self) -> None:
        """End the socket at once. Works also before ``begin``."""
        self._let_go()

    # Output, as ``LiveStream`` uses it.

    def watch(self, on_gone: Callable[[], object]) -> None:
        """Call ``on_gone`` once nothing more can be sent: the client disconnected, or the socket closes."""
        self._on_gone = on_gone

    @property
    def is_taken(self) -> bool:
        """Whether a sender has its turn; then ``send_now`` must not be called."""
        return self._writer.is_taken

    def turn(self) -> AbstractContextManager[None]:
        """Hold the right to send."""
        return self._writer.turn()

    def send_now(self, data: bytes | memoryview) -> None:
        """Send whole frames without blocking; a rest is sent in the background. Raises ``OSError``."""
        self._writer.send_now(data)

    def send(self, data: bytes | memoryview) -> None:
        """Send whole frames, in a turn. Raises ``OSError``, also if the client stalls."""
        if self._is_closing or self._is_gone:
            raise BrokenPipeError("the WebSocket is closed")
        self._writer.send(data)

    def finish(self, data: bytes) -> None:
        """Send the last frames, in a turn. They end with a close frame. Raises ``OSError``."""
        self.send(data)
        self._close(b"")

    def close(self) -> None:
        """Break the connection, unless it is closing."""
        if not self._is_closing:
            self._break()

    def close_with(self, code: int, reason: str = "") -> None:
        """Close with a code, after the frames that are being sent."""
        if not self._is_closing and not self._is_gone:
            self._close(close_frame(code, reason))

    def give_up(self) -> None:
        """Stop receiving: the shared memory is full, and this socket has made no progress for the longest."""
        self.close_with(1013, "memory limit for large messages reached; retry later")

    def tick(self, now: float) -> None:
        """Check the deadlines of pings, messages and the close."""
        if self._is_closing:
            if now >= self._linger_until:
                self._break()
            return
        self._session.tick(now)
        began_at = self._input.began_at
        if self._is_closing:
            return
        if self._is_paused:
            # The pong may be behind unread data.
            self._ping_at = now + PING_S
        elif began_at is not None and now >= began_at + self._limits.message_s:
            self.close_with(1008, f"message not complete within {self._limits.message_s:g} s")
        elif now >= self._ping_at and not self._writer.is_taken:
            self._ping(now)

    def _ping(self, now: float) -> None:
        if not self._input.has_pong:
            self.close_with(1008, "no pong received")
            return
        self._input.has_pong = False
        self._ping_at = now + PING_S
        self._writer.reply(PING)

    # Input.

    def keep(self, size: int) -> None:
        """Count so many bytes of a message as input, which its session keeps until it can handle it."""
        self._kept = size
        self._count_input()

    def _count_input(self) -> None:
        if not self._is_closing and not self._is_gone:
            self._limits.uploads.hold(self, self._input.size + self._kept)

    @property
    def _is_paused(self) -> bool:
        return self._input.inbox.is_full or self._writer.pending >= _REPLIES_BYTES

    def _read_on(self) -> None:
        """Read and parse, unless messages or replies wait."""
        if self._is_paused or self._input.reply_to_close is not None:
            self._watcher.stop()
        elif self._input.has_more:
            self._watcher.stop()
            if not self._is_parsing:
                self._is_parsing = True
                hub.soon(self._parse_more)
        elif not self._watcher.active:
            self._watcher.start(self._readable)

    def _readable(self) -> None:
        data = self._connection.receive(_READ_BYTES)
        if data is None:
            return
        if self._is_closing:
            self._discarded += len(data)
            if not data or self._discarded > _LINGER_BYTES:
                self._break()
        elif data:
            self._input.feed(data)
            self._parse()
        else:
            self._break()

    def _parse_more(self) -> None:
        self._is_parsing = False
        if not self._is_closing and not self._is_gone:
            self._parse()

    def _parse(self) -> None:
        try:
            self._input.parse()
        except Closed as closed:
            self.close_with(closed.code, closed.reason)
            return
        except Exception:
            # The boundary of this socket: the hub serves all others.
            log.exception("cannot parse a WebSocket's input")
            self._break()
            return
        if replies := self._input.take_replies():
            self._writer.reply(replies)
        if (self._input.inbox or self._input.reply_to_close is not None) and not self._is_handling:
            self._is_handling = True
            gevent.spawn(self._handle)
        self._count_input()
        self._settle()

    def _handle(self) -> None:
        """Handle the messages, then the client's close."""
        try:
            while self._input.inbox and not self._is_closing and not self._is_gone:
                raw = self._input.inbox.take()
                self._count_input()
                self._settle()
                self._session.message(raw)
                # Yield, so that one client's messages do not delay others.
                gevent.sleep(0)
            if self._input.reply_to_close is not None and not self._is_closing and not self._is_gone:
                self._close(self._input.reply_to_close)
        except Closed as closed:
            self.close_with(closed.code, closed.reason)
        except OSError:
            # The client disconnected or stalled.
            self.close()
        except Exception:
            # The greenlet's boundary: without this the client would wait for ever.
            log.exception("unexpected error while a WebSocket was answered")
            self.close_with(1011, "internal error")
        finally:
            self._is_handling = False

    # The end.

    def _settle(self) -> None:
        """Continue after a change: read on, wait for the client's close, or let go."""
        if self._is_gone or self._writer.is_broken:
            if not self._writer.is_taken:
                self._let_go()
        elif not self._is_closing:
            self._read_on()
        elif not self._writer.is_taken and self._linger_until == float("inf"):
            self._linger_until = time.monotonic() + _LINGER_S
            self._connection.end_sending()
            self._watcher.start(self._readable)

    def _close(self, frame: bytes) -> None:
        """Begin to close, with this close frame; if it is empty, a close frame has been sent."""
        self._is_closing = True
        self._watcher.stop()
        self._input.clear()
        self._limits.uploads.end(self)
        self._writer.reply(frame)
        self._tell_gone()

    def _break(self) -> None:
        """End the connection at once. A current sender gets an error; its turn's end lets go."""
        if self._writer.is_taken:
            self._is_gone = True
            self._watcher.stop()
            self._connection.reset()
        else:
            self._let_go()

    def _let_go(self) -> None:
        """Release everything, once."""
        self._is_gone = True
        if self._watcher is not None:
            self._watcher.stop()
            self._watcher.close()
            self._watcher = None
            self._writer.on_free = _nothing
            self._connection.close()
        self._ticker.remove(self)
        self._limits.uploads.end(self)
        self._input.clear()
        self._tell_gone()
        release, self._release = self._release, _nothing
        release()

    def _tell_gone(self) -> None:
        on_gone, self._on_gone = self._on_gone, _nothing
        on_gone()


def _nothing() -> None:
    """Replaces a callback after its call."""
