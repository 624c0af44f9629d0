"""A bounded pool of connections to Redis, and the queue of calls that wait for one.

A caller that had to wait also sends the small calls queued behind it, in one round trip. So under load each round trip
does more. Thousands of readers that reconnect at once need this. A busy process has few round trips a second, and calls
at the end of the queue would otherwise time out.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from spool.errors import StoreUnavailable

Command = Sequence[Any]

_BATCH_COMMANDS = 64
"""Maximum number of commands of several callers in one round trip."""
_SMALL = 4
"""Maximum number of commands of a call that is batched; a larger call is sent alone."""


class Call:
    """The commands of one caller, and their outcome: ``replies``, or the ``failure`` of the batch that sent them.

    ``commands_on`` makes the commands of a call that depend on the server's run id, once the connection is known. Such
    a call is sent alone.
    """

    __slots__ = ("commands", "commands_on", "connection", "failure", "piggybacked", "replies", "sent", "served")

    def __init__(
        self, commands: Sequence[Command], commands_on: Callable[[str], Sequence[Command]] | None = None
    ) -> None:
        self.commands = commands
        self.commands_on = commands_on
        self.connection: Any = None
        """The connection assigned to it after a wait."""
        self.piggybacked = False
        """Another call sends it in its batch: its caller waits for ``replies`` or ``failure``."""
        self.replies: list[Any] | None = None
        self.failure: Exception | None = None
        self.sent = False
        """It may have reached the server."""
        self.served: Any = None
        """The event that it waits on, None without a wait."""

    def settle(self, replies: list[Any] | None, failure: Exception | None) -> None:
        """Set the outcome of a piggybacked call and wake its caller."""
        self.replies, self.failure = replies, failure
        self.served.set()


class Connections:
    """A pool of at most ``count`` connections. None stands for a connection that is not created yet."""

    def __init__(self, count: int, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._timed_out_at = float("-inf")
        # Not a queue.Queue: its locks cost as much as the rest of a call. A list's pop and append are atomic.
        self._idle: list[Any] = [None] * count
        self._waiting: deque[Call] = deque()
        self._lock = threading.Lock()

    def take(self, call: Call) -> list[Call]:
        """Wait for ``call.connection``, or until another call has sent this one.

        Returns the batch to send, this call first; empty if another call has sent it. The caller returns a connection
        with ``give``. Raises ``StoreUnavailable``.
        """
        try:
            call.connection = self._idle.pop()
        except IndexError:
            return self._wait(call)
        return [call]

    def give(self, connection: Any) -> None:
        """Return a connection to the pool; None for one that must be created again."""
        self._idle.append(connection)
        if self._waiting:
            # First come, first served. Otherwise new calls take every connection under load, and old ones starve.
            with self._lock:
                while self._waiting and self._idle:
                    call = self._waiting.popleft()
                    call.connection = self._idle.pop()
                    call.served.set()

    def timed_out(self) -> None:
        """Record that a call timed out: calls that already wait do not wait a second timeout."""
        self._timed_out_at = time.monotonic()

    def answered(self) -> None:
        """Record that the server answered."""
        self._timed_out_at = float("-inf")

    def close(self) -> None:
        """Close the idle connections."""
        for place, connection in enumerate(self._idle):
            if connection is not None:
                connection.disconnect()
            self._idle[place] = None

    def _wait(self, call: Call) -> list[Call]:
        waiting_since, call.served = time.monotonic(), threading.Event()
        with self._lock:
            if self._idle:
                call.connection = self._idle.pop()
                return [call]
            self._waiting.append(call)
        try:
            call.served.wait(self._timeout_s)
            if call.piggybacked:
                # The sending call has timeouts of its own, to connect, to send and to receive.
                call.served.wait(4 * self._timeout_s)
                return []
            if self._timed_out_at > waiting_since:
                raise StoreUnavailable("Redis does not answer")
            if not call.served.is_set():
                raise StoreUnavailable("every connection to Redis is in use")
        except BaseException:
            # Also for a killed greenlet: a connection assigned to it meanwhile goes to the next call.
            self._leave(call)
            raise
        return [call, *self._piggyback(call)] if call.commands_on is None else [call]

    def _piggyback(self, call: Call) -> list[Call]:
        added: list[Call] = []
        room = _BATCH_COMMANDS - len(call.commands)
        with self._lock:
            while self._waiting and self._fits(self._waiting[0], room):
                added.append(self._waiting.popleft())
                added[-1].piggybacked = True
                room -= len(added[-1].commands)
        return added

    @staticmethod
    def _fits(call: Call, room: int) -> bool:
        return len(call.commands) <= min(_SMALL, room) and call.commands_on is None

    def _leave(self, call: Call) -> None:
        with self._lock:
            if call.piggybacked:
                return
            if not call.served.is_set():
                self._waiting.remove(call)
                return
        self.give(call.connection)
