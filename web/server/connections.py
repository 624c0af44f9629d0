"""The connections that one process has, and which of them closes when there is hardly room for another.

A connection costs the most when its client does nothing. So where nearly all places are taken, each new one closes the
one that has waited longest for its client, of the address that has most of them waiting: first those without a request,
then those whose request is not whole, then those whose client takes nothing of the answer.
"""

from __future__ import annotations

import _socket
import logging
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

log = logging.getLogger("spool.web")

_SPARE_PART = 10
"""One place in so many is kept for new connections."""
_PATIENCE_S = 1.0
"""A connection that waits for less is closed only where none waits for longer: its client may have spoken by now."""
_LOG_AGAIN_S = 60.0


class Connection:
    """One client's connection, as the table knows it."""

    __slots__ = ("address", "is_closing", "since", "sock", "waiting")

    def __init__(self, sock: Any, addr: Any) -> None:
        self.sock = sock
        self.address = str(addr[0]) if isinstance(addr, tuple) else ""
        self.since = 0.0
        self.waiting: Waiting | None = None
        self.is_closing = False
        """It has been closed for another one, and may not have noticed yet."""

    def hang_up(self) -> None:
        """End it; what waits on it sees that."""
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)


class Waiting:
    """Connections that wait for their client, by its address, each in the order of coming."""

    def __init__(self) -> None:
        self.count = 0
        self._by_address: dict[str, dict[Connection, None]] = {}

    def add(self, connection: Connection, now: float) -> None:
        """It waits from now on."""
        connection.since = now
        connection.waiting = self
        self.count += 1
        self._by_address.setdefault(connection.address, {})[connection] = None

    def remove(self, connection: Connection) -> None:
        """It waits no more."""
        connection.waiting = None
        self.count -= 1
        same = self._by_address[connection.address]
        del same[connection]
        if not same:
            del self._by_address[connection.address]

    def longest(self) -> Connection | None:
        """The one that has waited longest, of the address that has most of them."""
        if not self._by_address:
            return None
        most = max(self._by_address.values(), key=lambda same: len(same))
        return next(iter(most))

    def all(self) -> list[Connection]:
        """All of them."""
        return [connection for same in self._by_address.values() for connection in same]


class ConnectionTable:
    """All connections of a process, at most ``limit`` at a time, but for streams that left the server."""

    def __init__(self, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.open = 0
        self._full_at = limit - limit // _SPARE_PART
        self._clock = clock
        self._idle = Waiting()
        self._receiving = Waiting()
        self._stalled = Waiting()
        self._logged_at = float("-inf")

    @property
    def is_crowded(self) -> bool:
        """Whether the places that are left are for new connections alone."""
        return self.open > self._full_at

    def enter(self) -> None:
        """A new connection; makes room for the next one."""
        self.open += 1
        if self.is_crowded:
            self._make_room()

    def leave(self, connection: Connection) -> None:
        """It is closed, or belongs to a stream now."""
        if not connection.is_closing:
            self.open -= 1
        self.proceed(connection)

    def idle(self, connection: Connection) -> None:
        """It has no request."""
        self._wait(connection, self._idle)

    def receive(self, connection: Connection) -> None:
        """Its request is not whole."""
        self._wait(connection, self._receiving)

    def stall(self, connection: Connection) -> None:
        """Its client does not take what is sent."""
        self._wait(connection, self._stalled)

    def proceed(self, connection: Connection) -> None:
        """It does not wait for its client."""
        if connection.waiting is not None:
            connection.waiting.remove(connection)

    def hang_up_idle(self) -> None:
        """End every connection that has no request, and on which none has begun to arrive."""
        for connection in self._idle.all():
            if _is_silent(connection.sock):
                connection.hang_up()

    def _wait(self, connection: Connection, waiting: Waiting) -> None:
        self.proceed(connection)
        if connection.is_closing:
            return
        waiting.add(connection, self._clock())

    def _make_room(self) -> None:
        now = self._clock()
        found = [one for group in (self._idle, self._receiving, self._stalled) if (one := group.longest())]
        patient = (one for one in found if now - one.since >= _PATIENCE_S)
        # One that stalls may be a stream, and only slow.
        young = [one for one in found if one.waiting is not self._stalled]
        if 2 * sum(group.count for group in (self._idle, self._receiving, self._stalled)) < self.open:
            # The process is busy, and what is young has not been looked at yet.
            young = []
        victim = next(patient, None) or min(young, key=lambda one: one.since, default=None)
        if victim is not None:
            self.proceed(victim)
            victim.hang_up()
            # Its place is free now: until it notices, each new connection would close one more.
            victim.is_closing = True
            self.open -= 1
        if now - self._logged_at >= _LOG_AGAIN_S:
            self._logged_at = now
            log.warning("%d connections are open, nearly all that may be; each new one closes an idle one", self.open)


def _is_silent(sock: Any) -> bool:
    # The plain socket underneath: gevent's own would wait for something to read.
    plain = _socket.socket(sock.family, sock.type, sock.proto, sock.fileno())
    try:
        return not plain.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return True
    except OSError:
        return True
    finally:
        plain.detach()
