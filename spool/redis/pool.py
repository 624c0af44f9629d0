"""A bounded number of connections to Redis, and the calls that wait for one.

Whoever gets a connection after a wait takes along what else waits, in one round trip: where there is more to do than
there are connections, each round trip carries more. Thousands of readers that come back at once need that: a busy
process has few round trips a second, and those at the end of the queue would be told that Redis is away.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

from spool.errors import StoreUnavailable

Command = Sequence[Any]

_TOGETHER = 64
"""Commands of several callers in one round trip, at most."""
_SMALL = 4
"""A call of more commands than these goes by itself."""


class Call:
    """Some commands of one caller, and what becomes of them: ``replies``, or the ``failure`` of who carried them."""

    __slots__ = ("carried", "commands", "connection", "failure", "replies", "sent", "served")

    def __init__(self, commands: Sequence[Command]) -> None:
        self.commands = commands
        self.connection: Any = None
        """What it was given after a wait."""
        self.carried = False
        """Another call took it along: whoever made it waits for ``replies`` or ``failure``."""
        self.replies: list[Any] | None = None
        self.failure: Exception | None = None
        self.sent = False
        """It may have reached the server."""
        self.served: Any = None
        """The event that it waits on, where it had to wait."""

    def settle(self, replies: list[Any] | None, failure: Exception | None) -> None:
        """Tell the caller of a call that was carried."""
        self.replies, self.failure = replies, failure
        self.served.set()


class Connections:
    """At most ``count`` connections at a time, taken and given back; None stands for one that is not made yet."""

    def __init__(self, count: int, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._timed_out_at = float("-inf")
        # Not a queue: its locks cost as much as the rest of a call. Taking from a list and adding to it are atomic.
        self._idle: list[Any] = [None] * count
        self._waiting: deque[Call] = deque()
        self._handing_over = threading.Lock()

    def take(self, call: Call) -> list[Call]:
        """Wait for ``call.connection``, and answer the calls that go with it, the call itself first; or wait until
        another one has carried it, and answer none. Whoever has a connection gives it back. Raises
        ``StoreUnavailable``."""
        try:
            call.connection = self._idle.pop()
        except IndexError:
            return self._wait(call)
        return [call]

    def give(self, connection: Any) -> None:
        """It is free; None for one that is to be made anew."""
        self._idle.append(connection)
        if self._waiting:
            # In the order in which they came: else those that come while it is busy are served, and others never.
            with self._handing_over:
                while self._waiting and self._idle:
                    call = self._waiting.popleft()
                    call.connection = self._idle.pop()
                    call.served.set()

    def timed_out(self) -> None:
        """The server let a call time out: whoever waits already does not wait as long again."""
        self._timed_out_at = time.monotonic()

    def answered(self) -> None:
        """The server answers."""
        self._timed_out_at = float("-inf")

    def close(self) -> None:
        """Closes the idle connections."""
        for place, connection in enumerate(self._idle):
            if connection is not None:
                connection.disconnect()
            self._idle[place] = None

    def _wait(self, call: Call) -> list[Call]:
        began, call.served = time.monotonic(), threading.Event()
        with self._handing_over:
            if self._idle:
                call.connection = self._idle.pop()
                return [call]
            self._waiting.append(call)
        try:
            call.served.wait(self._timeout_s)
            if call.carried:
                # Whoever carries it has its own bounds: to connect, to send and to receive.
                call.served.wait(4 * self._timeout_s)
                return []
            if self._timed_out_at > began:
                raise StoreUnavailable("Redis does not answer")
            if not call.served.is_set():
                raise StoreUnavailable("every connection to Redis is in use")
        except BaseException:
            # A greenlet that is killed counts too: what it was given meanwhile is for the next.
            self._leave(call)
            raise
        return [call, *self._companions(call)]

    def _companions(self, call: Call) -> list[Call]:
        found: list[Call] = []
        room = _TOGETHER - len(call.commands)
        with self._handing_over:
            while self._waiting and len(self._waiting[0].commands) <= min(_SMALL, room):
                found.append(self._waiting.popleft())
                found[-1].carried = True
                room -= len(found[-1].commands)
        return found

    def _leave(self, call: Call) -> None:
        with self._handing_over:
            if call.carried:
                return
            if not call.served.is_set():
                self._waiting.remove(call)
                return
        self.give(call.connection)
