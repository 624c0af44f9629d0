"""The one way to Redis: a bounded pool of connections, raw replies, and errors of Spool's own (``spool.redis_errors``).

redis-py gives the URL's meaning, TLS, authentication and the parser; its client on top is left out, because a call
of it costs as much as everything else that Spool does per commit. Replies are RESP2 as the parser gives them:
bytes, int, list, None.

A call that lost its connection is sent once more. That is harmless because every write of Spool is a script that
can be asked twice: submits by id, claims by fence, appends by entry id, the rest by state.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import hiredis
import redis
from hiredis import pack_command
from redis import exceptions as theirs
from redis.connection import ConnectionPool

from spool.errors import OutcomeUnknown, StoreUnavailable
from spool.fail_points import reach
from spool.keys import prefix
from spool.redis_errors import away, translated
from spool.scripting import Script

Command = Sequence[Any]

_RECEIVE_BYTES = 64 * 1024


class RedisLink:
    """Commands and scripts on one Redis server. ``timeout_s`` bounds every connect, wait for a free connection,
    write and read; at most ``connections`` are open at a time. Whoever waited for one while Redis let another call
    time out does not wait as long again."""

    def __init__(self, url: str, *, timeout_s: float = 5.0, connections: int = 8, name: str = "spool") -> None:
        self._timeout_s = timeout_s
        self._factory: ConnectionPool = ConnectionPool.from_url(
            url,
            protocol=2,
            legacy_responses=True,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            retry=redis.retry.Retry(redis.backoff.NoBackoff(), 0),
            client_name=name,
        )
        self._timed_out_at = float("-inf")
        # Not a queue: its locks cost as much as the rest of a call. Taking from a list and adding to it are atomic.
        self._idle: list[Any] = [None] * connections
        self._waiters: deque[_Waiter] = deque()
        self._handing_over = threading.Lock()

    def call(self, *command: Any) -> Any:
        """One command's reply."""
        return self.pipeline([command])[0]

    def pipeline(self, commands: Sequence[Command]) -> list[Any]:
        """The replies to several commands in one round trip, not atomic. Raises the first error among them."""
        replies = self.pipeline_each(commands)
        for reply in replies:
            if isinstance(reply, Exception):
                raise translated(reply) from reply
        return replies

    def pipeline_each(self, commands: Sequence[Command]) -> list[Any]:
        """As ``pipeline``, with an exception in the place of each reply that is an error."""
        lost = False
        for attempt in (1, 2):
            sent, connection = False, None
            try:
                connection = self._take()
                try:
                    connection = connection or self._new_connection()
                    if not connection.is_connected:
                        connection.connect()
                    packed = b"".join(pack_command(tuple(command)) for command in commands)
                    sent = True
                    connection.send_packed_command([packed], check_health=False)
                    reach("link.sent")
                    replies = self._replies(connection, len(commands)) if commands else []
                    self._timed_out_at = float("-inf")
                    return replies
                except BaseException:
                    # A reply may be outstanding (a greenlet that is killed counts too): not to be read as another's.
                    if connection is not None:
                        connection.disconnect()
                    raise
                finally:
                    self._give(connection)
            except (theirs.ConnectionError, theirs.TimeoutError) as exc:
                if isinstance(exc, theirs.TimeoutError):
                    self._timed_out_at = time.monotonic()
                # Anything more special than these is an answer: what was asked was not done.
                lost = lost or (sent and type(exc) in (theirs.ConnectionError, theirs.TimeoutError))
                if attempt == 2 or type(exc) is not theirs.ConnectionError:
                    raise away(exc, lost) from exc
            except theirs.RedisError as exc:
                raise away(exc, lost) from exc
            except StoreUnavailable as exc:
                # No connection was free; what the first try sent may have happened.
                raise (OutcomeUnknown(str(exc)) if lost else exc) from exc
        raise AssertionError("unreachable")

    def run(self, script: Script, shard: int, *args: Any) -> Any:
        """One script on a shard's keys."""
        return self.run_many(script, shard, [args])[0]

    def run_many(self, script: Script, shard: int, calls: Sequence[Command]) -> list[Any]:
        """The same script several times in one round trip."""
        replies = self.run_each(script, shard, calls)
        for reply in replies:
            if isinstance(reply, Exception):
                raise translated(reply) from reply
        return replies

    def run_each(self, script: Script, shard: int, calls: Sequence[Command]) -> list[Any]:
        """As ``run_many``, with an exception in the place of each reply that is an error."""
        commands = [("EVALSHA", script.sha, 1, prefix(shard), *args) for args in calls]
        replies = self.pipeline_each(commands)
        if any(isinstance(reply, theirs.NoScriptError) for reply in replies):
            # It is missing for all of them, or was flushed half-way: what ran already may run again.
            self.call("SCRIPT", "LOAD", script.text)
            replies = self.pipeline_each(commands)
        return replies

    def subscription(self) -> Subscription:
        """A connection of the caller's own for pub/sub, not connected yet. Raises ``StoreUnavailable``."""
        return Subscription(self._new_connection())

    def close(self) -> None:
        """Closes the idle connections."""
        for place, connection in enumerate(self._idle):
            if connection is not None:
                connection.disconnect()
            self._idle[place] = None

    @staticmethod
    def _replies(connection: Any, count: int) -> list[Any]:
        replies: list[Any] = []
        for _ in range(count):
            try:
                replies.append(connection.read_response())
            except theirs.ResponseError as exc:
                # The others' replies are on the wire still, and must be read before the connection is used again.
                replies.append(exc)
        if any(isinstance(reply, theirs.ReadOnlyError) for reply in replies):
            # A replica, after a failover: the name may lead to another server by now.
            connection.disconnect()
        return replies

    def _new_connection(self) -> Any:
        # Not the pool's make_connection, which counts connections that have long been closed.
        try:
            return self._factory.connection_class(**self._factory.connection_kwargs)
        except OSError as exc:
            # redis-py opens a file of its own for each: this process may have as many open as it may.
            raise StoreUnavailable(f"Redis: no connection can be made: {exc.strerror}") from exc

    def _take(self) -> Any:
        """A connection, or None for one that is not made yet; whoever takes it gives it back."""
        try:
            return self._idle.pop()
        except IndexError:
            return self._wait_for_one()

    def _wait_for_one(self) -> Any:
        began, waiter = time.monotonic(), _Waiter()
        with self._handing_over:
            if self._idle:
                return self._idle.pop()
            self._waiters.append(waiter)
        try:
            waiter.served.wait(self._timeout_s)
            if self._timed_out_at > began:
                raise StoreUnavailable("Redis does not answer")
            if not waiter.served.is_set():
                raise StoreUnavailable("every connection to Redis is in use")
        except BaseException:
            # A greenlet that is killed counts too: what it was given meanwhile is for the next.
            self._leave(waiter)
            raise
        return waiter.connection

    def _leave(self, waiter: _Waiter) -> None:
        with self._handing_over:
            if not waiter.served.is_set():
                self._waiters.remove(waiter)
                return
        self._give(waiter.connection)

    def _give(self, connection: Any) -> None:
        self._idle.append(connection)
        if self._waiters:
            # In the order in which they came: else those that come while it is busy are served, and others never.
            with self._handing_over:
                while self._waiters and self._idle:
                    waiter = self._waiters.popleft()
                    waiter.connection = self._idle.pop()
                    waiter.served.set()


class _Waiter:
    """Somebody who waits for a connection."""

    __slots__ = ("connection", "served")

    def __init__(self) -> None:
        self.connection: Any = None
        self.served = threading.Event()


class Subscription:
    """One pub/sub connection. One greenlet reads, one writes. Every call raises ``StoreUnavailable``."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def connect(self) -> None:
        """Connect, authenticated and ready, within the link's time. From then on silence is normal, and whoever
        reads looks after dead peers by a PING."""
        with _translating():
            self._connection.connect()
            self._connection.socket_timeout = None
            self._connection._sock.settimeout(None)

    def send(self, *command: Any) -> None:
        """SUBSCRIBE, UNSUBSCRIBE or PING; the reply comes among the ``messages``."""
        with _translating():
            self._connection.send_packed_command(self._connection.pack_command(*command), check_health=False)

    def messages(self) -> Iterator[list[Any]]:
        """The messages as they come, all that one read brought together: ``[b"message", channel, data]``,
        ``[b"subscribe", channel, count]`` or a pong each."""
        sock, parser = self._connection._sock, hiredis.Reader()
        with _translating():
            while True:
                # Not redis-py's parser, which gives one at a time: whoever reads wants to know what came with it.
                data = sock.recv(_RECEIVE_BYTES)
                if not data:
                    raise StoreUnavailable("Redis: connection closed")
                parser.feed(data)
                if gathered := list(iter(parser.gets, False)):
                    for message in gathered:
                        if isinstance(message, hiredis.ReplyError):
                            raise StoreUnavailable(f"Redis: {message}")
                    yield gathered

    def close(self) -> None:
        """Drop the connection; a wait for ``messages`` raises."""
        self._connection.disconnect()


@contextmanager
def _translating() -> Iterator[None]:
    try:
        yield
    except theirs.RedisError as exc:
        raise translated(exc) from exc
    except (OSError, AttributeError, ValueError, hiredis.HiredisError) as exc:
        # What redis-py lets through when its socket is closed under a read.
        raise StoreUnavailable("Redis: connection closed") from exc
