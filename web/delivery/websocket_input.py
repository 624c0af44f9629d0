"""The input of a WebSocket, read within bounds (RFC 6455).

simple-websocket reads as fast as its client sends, into a list without end. ``Reading`` replaces its loop: it reads
4 KiB at a time, lets others run in between, and reads nothing while messages wait for the route. So TCP holds back a
client that sends faster than its messages are dealt with.
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
"""Frames that are parsed before others run: 4 KiB may be 682 of them."""

INPUT = "spool.websocket_input"
"""Where a request's environment has its ``InputLimits``."""


class Reading(threading.Thread):
    """simple-websocket's ``thread_class``. ``target`` is the loop that it replaces, a method of the socket."""

    def __init__(self, target: Any) -> None:
        super().__init__(daemon=True)
        self._ws: Any = target.__self__
        self._limits: InputLimits = self._ws.environ[INPUT]
        self._assembly = Assembly(self._limits.most)
        self._inbox = self._ws.input_buffer = Inbox(self._taken)
        self._gave_up = False
        self._changed = Event()
        self._is_readable = False
        self._has_more = False

    def run(self) -> None:
        """Read until either end closes. Nothing of the input is kept then."""
        ws = self._ws
        # Of the thread that runs this: a hub's watchers are its own.
        watcher = get_hub().loop.io(ws.sock.fileno(), _READ)
        try:
            self._read(watcher)
        except Closed as closed:
            close(ws, closed.code, closed.reason)
        except (OSError, LocalProtocolError):
            # The client left, or sends after its end.
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
        """Receive no more: this socket has made no progress for the longest, and others need the memory."""
        self._gave_up = True
        self._changed.set()

    def wake(self) -> None:
        """Look at the socket again: it has been closed here."""
        self._changed.set()

    def _read(self, watcher: Any) -> None:
        ws, ping_at = self._ws, time.monotonic() + PING_S
        while ws.connected:
            if self._gave_up:
                raise Closed(1013, "large messages take up all the memory for them, come back")
            now = time.monotonic()
            if self._inbox.is_full:
                # A pong may be behind what is not read.
                ping_at = now + PING_S
                self._wait(watcher, None)
                continue
            late_at = self._late_at()
            if now >= late_at:
                raise Closed(1008, f"a message must come within {self._limits.message_s:g} s")
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
        """Wait for input for so many seconds, or for whatever else changes. Whether there is input."""
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
            raise Closed(1008, "no pong came")
        self._ws.pong_received = False
        self._ws.sock.send(self._ws.ws.send(Ping()))

    def _parse(self) -> None:
        """Take the next frames of what has come, but not more than may wait."""
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
        """Take one frame, or a part of one; the answer to it."""
        ws = self._ws
        match event:
            case TextMessage():
                self._add(event)
            case BytesMessage():
                raise Closed(1003, "send text")
            case Ping():
                return ws.ws.send(event.response())  # type: ignore[no-any-return]
            case Pong():
                ws.pong_received = True
            case CloseConnection():
                # The client's own, or what wsproto finds wrong.
                ws.close_reason, ws.close_message = event.code, event.reason
                ws.connected = False
                return ws.ws.send(event.response())  # type: ignore[no-any-return]
        return b""

    def _add(self, event: Any) -> None:
        message = self._assembly.add(event.data.encode(), finished=event.message_finished)
        if message is not None:
            self._inbox.put(message)

    def _taken(self) -> None:
        self._count()
        self._changed.set()

    def _count(self) -> None:
        """Count this socket's input in what all sockets hold."""
        self._limits.uploads.hold(self, len(self._assembly) + self._inbox.size)


def close(ws: Any, code: int, reason: str) -> None:
    """Close this end, if it is open."""
    if ws.connected:
        with suppress(OSError, LocalProtocolError):
            ws.close(code, reason)
