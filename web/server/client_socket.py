"""A client's socket that reports stalls and counts its unsent bytes."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Self

import gevent.socket

from web.limits.unsent import PIECE_BYTES, Unsent
from web.server.sockets import reset_on_close


class ClientSocket(gevent.socket.socket):
    """Calls ``on_stall`` when ``sendall`` blocks, and ``on_proceed`` once it is done. Blocked bytes count in
    ``unsent``."""

    on_stall: Callable[[], None]
    on_proceed: Callable[[], None]
    unsent: Unsent

    @classmethod
    def of(cls, sock: Any, unsent: Unsent) -> Self:
        """Take over the connection of ``sock``, which is detached."""
        client = cls(sock.family, sock.type, sock.proto, sock.detach())
        client.unsent = unsent
        return client

    def reset(self) -> None:
        """Reset the connection and discard the unsent data in the kernel."""
        with suppress(OSError):
            reset_on_close(self)
            self.shutdown(socket.SHUT_RDWR)

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Send everything, each 64 KiB within the socket's timeout. Raises ``OSError``; ``TimeoutError`` for a
        stall."""
        view = memoryview(data)
        try:
            # The third argument is gevent's timeout.
            sent = self.send(view, flags, 0.0)  # type: ignore[call-arg]
        except BlockingIOError:
            sent = 0
        if sent == len(view):
            return
        self.on_stall()
        # Count all of it, not only the rest, because it is one object in memory.
        waiting = self.unsent.begin(len(view), self.reset)
        try:
            for at in range(sent, len(view), PIECE_BYTES):
                super().sendall(view[at : at + PIECE_BYTES], flags)
                self.unsent.proceed(waiting)
        finally:
            self.unsent.end(waiting)
            self.on_proceed()
