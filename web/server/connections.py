"""The connection table of one process, and the eviction of waiting connections when it is nearly full.

A connection costs the most when its client does nothing. So when the table is nearly full, each new connection closes
a waiting one: of the address with the most waiting connections, the one that has waited longest. Idle connections come
first, then those with incomplete requests, then those whose client does not read the response.
"""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from web.server.sockets import PlainSocket

log = logging.getLogger("spool.web")

_SPARE_PART = 10
"""One place in this many is reserved for new connections, and at least one."""
_PATIENCE_S = 1.0
"""A connection that has waited less is evicted only if none has waited longer: its client may have sent data by now."""
_LOG_AGAIN_S = 60.0


class Connection:
    """One client's connection in the table."""

    __slots__ = ("address", "is_closing", "since", "sock", "waiting")

    def __init__(self, sock: Any, addr: Any) -> None:
        self.sock = sock
        self.address = str(addr[0]) if isinstance(addr, tuple) else ""
        self.since = 0.0
        self.waiting: Waiting | None = None
        self.is_closing = False
        """It was evicted, and its greenlet may not have noticed yet."""

    def hang_up(self) -> None:
        """Shut the connection down; its waiting greenlet gets an error."""
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)


class Waiting:
    """Connections that wait for their client, by client address, longest wait first."""

    def __init__(self) -> None:
        self.count = 0
        self._by_address: dict[str, dict[Connection, None]] = {}

    def add(self, connection: Connection, now: float) -> None:
        """Add a connection that waits from ``now``."""
        connection.since = now
        connection.waiting = self
        self.count += 1
        self._by_address.setdefault(connection.address, {})[connection] = None

    def remove(self, connection: Connection) -> None:
        """Remove a connection that no longer waits."""
        connection.waiting = None
        self.count -= 1
        same = self._by_address[connection.address]
        del same[connection]
        if not same:
            del self._by_address[connection.address]

    def longest(self) -> Connection | None:
        """The longest waiting connection of the address with the most waiting connections, or None."""
        if not self._by_address:
            return None
        most = max(self._by_address.values(), key=lambda same: len(same))
        return next(iter(most))

    def all(self) -> list[Connection]:
        """All waiting connections."""
        return [connection for same in self._by_address.values() for connection in same]


class ConnectionTable:
    """All connections of a process, at most ``limit`` at a time, without those of hijacked streams."""

    def __init__(self, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.open = 0
        self._full_at = limit - max(1, limit // _SPARE_PART)
        self._clock = clock
        self._idle = Waiting()
        self._receiving = Waiting()
        self._stalled = Waiting()
        self._logged_at = float("-inf")

    @property
    def is_crowded(self) -> bool:
        """Whether only the places reserved for new connections are left."""
        return self.open > self._full_at

    def enter(self) -> None:
        """Count a new connection, and make room for the next one."""
        self.open += 1
        if self.is_crowded:
            self._make_room()

    def leave(self, connection: Connection) -> None:
        """Uncount a connection that is closed or hijacked."""
        if not connection.is_closing:
            self.open -= 1
        self.proceed(connection)

    def idle(self, connection: Connection) -> None:
        """Mark the connection as waiting for a request."""
        self._wait(connection, self._idle)

    def receive(self, connection: Connection) -> None:
        """Mark the connection as waiting for the rest of its request."""
        self._wait(connection, self._receiving)

    def stall(self, connection: Connection) -> None:
        """Mark the connection as waiting for its client to read."""
        self._wait(connection, self._stalled)

    def proceed(self, connection: Connection) -> None:
        """Mark the connection as not waiting for its client."""
        if connection.waiting is not None:
            connection.waiting.remove(connection)

    def hang_up_idle(self) -> None:
        """Close every idle connection on which no request has begun to arrive."""
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
        longest = [one for group in (self._idle, self._receiving, self._stalled) if (one := group.longest())]
        patient = (one for one in longest if now - one.since >= _PATIENCE_S)
        # A stalled connection may be a stream to a client that is only slow.
        young = [one for one in longest if one.waiting is not self._stalled]
        if 2 * sum(group.count for group in (self._idle, self._receiving, self._stalled)) < self.open:
            # The process is busy, and may not have served the recent ones yet.
            young = []
        victim = next(patient, None) or min(young, key=lambda one: one.since, default=None)
        if victim is not None:
            self.proceed(victim)
            victim.hang_up()
            # Free its place at once. Otherwise each new connection would evict another before this one has ended.
            victim.is_closing = True
            self.open -= 1
        if now - self._logged_at >= _LOG_AGAIN_S:
            self._logged_at = now
            log.warning("connection limit nearly reached, %d open; each new one closes a waiting one", self.open)


def _is_silent(sock: Any) -> bool:
    # A plain socket on the same descriptor, because gevent's would block.
    plain = PlainSocket(sock.family, sock.type, sock.proto, sock.fileno())
    try:
        return not plain.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return True
    except OSError:
        return True
    finally:
        plain.detach()
