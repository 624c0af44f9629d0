"""Whole frames on one connection, from several senders: each sends in its turn, so that frames never interleave."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import gevent
from gevent.lock import Semaphore

from web.server.hijacked import HijackedConnection


class FrameWriter:
    """The senders' turns on a connection. ``on_free`` is called after each turn; it must not block."""

    __slots__ = ("_connection", "_replies", "_sending", "is_broken", "on_free")

    def __init__(self, connection: HijackedConnection, on_free: Callable[[], None]) -> None:
        self._connection = connection
        self._sending = Semaphore()
        self._replies = bytearray()
        self.is_broken = False
        """A frame may have been cut, so nothing may follow it."""
        self.on_free = on_free

    @property
    def is_taken(self) -> bool:
        """Whether a sender has its turn."""
        return self._sending.locked()

    @property
    def pending(self) -> int:
        """Bytes of replies that wait for the current sender."""
        return len(self._replies)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Hold the right to send."""
        self._sending.acquire()
        try:
            yield
        finally:
            self._pass_on()

    def send(self, data: bytes | memoryview) -> None:
        """Send everything, in a turn. Raises ``OSError``, also if the client stalls."""
        if self.is_broken:
            raise BrokenPipeError("a frame was cut")
        try:
            self._connection.send(data)
        except OSError:
            self.is_broken = True
            raise

    def send_now(self, data: bytes | memoryview) -> None:
        """Send without blocking, while no turn is taken. The part that the socket does not accept is sent in the
        background, in a turn. Raises ``OSError``."""
        left = self._connection.send_now(data)
        if left is not None:
            self._sending.acquire(blocking=False)
            gevent.spawn(self._send_rest, left)

    def reply(self, frames: bytes) -> None:
        """Send small frames without blocking: now, or after the current sender's turn."""
        self._replies += frames
        if self._sending.acquire(blocking=False):
            self._pass_on()

    def _pass_on(self) -> None:
        """Send the replies, then end the turn."""
        data, left = bytes(self._replies), None
        if data and not self.is_broken:
            self._replies.clear()
            try:
                left = self._connection.send_now(data)
            except OSError:
                self.is_broken = True
        if left is not None:
            # The turn continues.
            gevent.spawn(self._send_rest, left)
            return
        self._sending.release()
        self.on_free()

    def _send_rest(self, left: memoryview) -> None:
        try:
            self._connection.send(left)
        except OSError:
            # The client disconnected or stalled.
            self.is_broken = True
        self._pass_on()
