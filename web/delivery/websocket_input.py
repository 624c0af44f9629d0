"""Bounded input of a WebSocket (RFC 6455).

simple-websocket reads as fast as its client sends, into an unbounded list. ``Reading`` replaces its loop: it reads
4 KiB at a time, yields in between, and does not read while the inbox is full. So TCP's flow control slows down a client
that sends faster than its messages are handled.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import Any

import gevent
from gevent.event import Event
from gevent.hub import get_hub
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage
from wsproto.utilities import LocalProtocolError

from web.delivery.websocket_messages import Assembly, Closed, Inbox, InputLimits

PING_S = 25.0
_READ = 1
_READ_BYTES = 4096
_FRAMES_AT_ONCE = 32
"""Frames parsed before a yield: 4 KiB may hold 682 frames."""

INPUT = "spool.websocket_input"
"""The key of ``InputLimits`` in a request's environment."""


class Reading(threading.Thread):
    """simple-websocket's ``thread_class``. ``target`` is the replaced loop, a method of the WebSocket."""

    def __init__(self, target: Any) -> None:
        super().__init__(daemon=True)
        self._ws: Any = target.__self__
        self._limits: InputLimits = self._ws.environ[INPUT]
        self._assembly = Assembly(self._limits.most)
        self._inbox = self._ws.input_buffer = Inbox(self._on_taken)
        self._gave_up = False
        self._changed = Event()
        self._is_readable = False
        self._has_more = False

    def run(self) -> None:
        """Read until either end closes, then discard the input."""
        ws = self._ws
        # Created here, because a watcher belongs to the hub of the thread that runs this.
        watcher = get_hub().loop.io(ws.sock.fileno(), _READ)
        try:
            self._read(watcher)
        except Closed as closed:
            close(ws, closed.code, closed.reason)
        except (OSError, LocalProtocolError):
            # The client disconnected, or sent data after its close.
            pass
        finally:
            watcher.stop()
            watcher.close()
            ws.connected = False
            self._assembly.clear()
            self._inbox.clear()
            self._limits.uploads.end(self)
            ws.event.set()
            ws.sock.close()

    def give_up(self) -> None:
        """Stop receiving: the shared memory is full, and this socket has made no progress for the longest."""
        self._gave_up = True
        self._changed.set()

    def wake(self) -> None:
        """Check the socket again, after this end closed it."""
        self._changed.set()

    def _read(self, watcher: Any) -> None:
        ws, ping_at = self._ws, time.monotonic() + PING_S
        while ws.connected:
            if self._gave_up:
                raise Closed(1013, "memory limit for large messages reached; retry later")
            now = time.monotonic()
            if self._inbox.is_full:
                # The pong may be behind unread data.
                ping_at = now + PING_S
                self._wait(watcher, None)
                continue
            late_at = self._late_at()
            if now >= late_at:
                raise Closed(1008, f"message not complete within {self._limits.message_s:g} s")
            if now >= ping_at:
                self._ping()
                ping_at = now + PING_S
            if self._has_more:
                gevent.sleep(0)
            elif not self._wait(watcher, min(ping_at, late_at) - now):
                continue
            elif data := ws.sock.recv(_READ_BYTES):
                ws.ws.receive_data(data)
            else:
                return
            self._parse()

    def _late_at(self) -> float:
        began_at = self._assembly.began_at
        return float("inf") if began_at is None else began_at + self._limits.message_s

    def _wait(self, watcher: Any, for_input_s: float | None) -> bool:
        """Wait up to ``for_input_s`` for input (None: ignore input), or for another change. Returns whether there is
        input."""
        self._is_readable = False
        if for_input_s is not None:
            watcher.start(self._readable, watcher)
        self._changed.wait(for_input_s)
        self._changed.clear()
        watcher.stop()
        return self._is_readable

    def _readable(self, watcher: Any) -> None:
        watcher.stop()
        self._is_readable = True
        self._changed.set()

    def _ping(self) -> None:
        if not self._ws.pong_received:
            raise Closed(1008, "no pong received")
        self._ws.pong_received = False
        self._ws.sock.send(self._ws.ws.send(Ping()))

    def _parse(self) -> None:
        """Handle the next received frames, until the inbox is full."""
        ws, reply = self._ws, bytearray()
        frames = 0
        for event in ws.ws.events():
            reply += self._take(event)
            frames += 1
            if frames == _FRAMES_AT_ONCE or self._inbox.is_full or not ws.connected:
                break
        self._has_more = frames == _FRAMES_AT_ONCE or self._inbox.is_full
        self._count()
        if self._inbox:
            ws.event.set()
        if reply:
            ws.sock.send(reply)

    def _take(self, event: Any) -> bytes:
        """Handle one frame or a part of one. Returns the reply."""
        ws = self._ws
        match event:
            case TextMessage():
                self._add(event)
            case BytesMessage():
                raise Closed(1003, "send text frames")
            case Ping():
                return ws.ws.send(event.response())  # type: ignore[no-any-return]
            case Pong():
                ws.pong_received = True
            case CloseConnection():
                # The client's close, or a protocol error found by wsproto.
                ws.close_reason, ws.close_message = event.code, event.reason
                ws.connected = False
                return ws.ws.send(event.response())  # type: ignore[no-any-return]
        return b""

    def _add(self, event: Any) -> None:
        message = self._assembly.add(event.data.encode(), finished=event.message_finished)
        if message is not None:
            self._inbox.put(message)

    def _on_taken(self) -> None:
        self._count()
        self._changed.set()

    def _count(self) -> None:
        """Report this socket's input bytes to the shared limit."""
        self._limits.uploads.hold(self, len(self._assembly) + self._inbox.size)


def close(ws: Any, code: int, reason: str) -> None:
    """Close this end if it is open."""
    if ws.connected:
        with suppress(OSError, LocalProtocolError):
            ws.close(code, reason)
