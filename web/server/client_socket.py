"""A client's socket that says when its client does not take what is sent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import gevent.socket


class ClientSocket(gevent.socket.socket):
    """``on_stall`` is called when ``sendall`` has to wait, and ``on_proceed`` when it is done then."""

    on_stall: Callable[[], None]
    on_proceed: Callable[[], None]

    @classmethod
    def of(cls, sock: Any) -> Self:
        """The same connection; ``sock`` has none any more."""
        return cls(sock.family, sock.type, sock.proto, sock.detach())

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Send all of it."""
        view = memoryview(data)
        try:
            # The time that it may wait, which is gevent's own argument.
            sent = self.send(view, flags, 0.0)  # type: ignore[call-arg]
        except BlockingIOError:
            sent = 0
        if sent == len(view):
            return
        self.on_stall()
        try:
            super().sendall(view[sent:], flags)
        finally:
            self.on_proceed()
