"""A client's socket that says when its client does not take what is sent, and counts what waits for that."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Self

import gevent.socket

from web.limits.unsent import PIECE_BYTES, Unsent
from web.server.sockets import reset_on_close


class ClientSocket(gevent.socket.socket):
    """``on_stall`` is called when ``sendall`` has to wait, and ``on_proceed`` when it is done then. What waits counts
    in ``unsent``."""

    on_stall: Callable[[], None]
    on_proceed: Callable[[], None]
    unsent: Unsent

    @classmethod
    def of(cls, sock: Any, unsent: Unsent) -> Self:
        """The same connection; ``sock`` has none any more."""
        client = cls(sock.family, sock.type, sock.proto, sock.detach())
        client.unsent = unsent
        return client

    def reset(self) -> None:
        """End the connection, and throw away what the kernel holds of the answer."""
        with suppress(OSError):
            reset_on_close(self)
            self.shutdown(socket.SHUT_RDWR)

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Send all of it, each 64 KiB within the socket's timeout."""
        view = memoryview(data)
        try:
            # The time that it may wait, which is gevent's own argument.
            sent = self.send(view, flags, 0.0)  # type: ignore[call-arg]
        except BlockingIOError:
            sent = 0
        if sent == len(view):
            return
        self.on_stall()
        # All of it, not what is left: it is one object.
        waiting = self.unsent.begin(len(view), self.reset)
        try:
            for at in range(sent, len(view), PIECE_BYTES):
                super().sendall(view[at : at + PIECE_BYTES], flags)
                self.unsent.proceed(waiting)
        finally:
            self.unsent.end(waiting)
            self.on_proceed()
