"""The one way to Redis: a bounded pool of connections, raw replies, and errors of Spool's own (``spool.redis.errors``).

redis-py gives the URL's meaning, TLS, authentication and the parser; its client on top is left out, because a call
of it costs as much as everything else that Spool does per commit. Replies are RESP2 as the parser gives them:
bytes, int, list, None.

A call that lost its connection is sent once more. That is harmless because every write of Spool is a script that
can be asked twice: submits by id, claims by fence, appends by entry id, the rest by state.
"""

from __future__ import annotations

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
from spool.redis.errors import away, translated
from spool.redis.pool import Call, Command, Connections
from spool.redis.script import Script

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
        self._connections = Connections(connections, timeout_s)

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
            call = Call(commands)
            try:
                return self._exchange(call)
            except (theirs.ConnectionError, theirs.TimeoutError) as exc:
                if isinstance(exc, theirs.TimeoutError):
                    self._connections.timed_out()
                # Anything more special than these is an answer: what was asked was not done.
                lost = lost or (call.sent and type(exc) in (theirs.ConnectionError, theirs.TimeoutError))
                if attempt == 2 or type(exc) is not theirs.ConnectionError:
                    raise away(exc, lost) from exc
            except theirs.RedisError as exc:
                raise away(exc, lost) from exc
            except StoreUnavailable as exc:
                # No connection was free; what the first try sent may have happened.
                raise (OutcomeUnknown(str(exc)) if lost or call.sent else exc) from exc
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
            # In one round trip, so that the next flush does not come between.
            _loaded, *replies = self.pipeline_each([("SCRIPT", "LOAD", script.text), *commands])
        return replies

    def subscription(self) -> Subscription:
        """A connection of the caller's own for pub/sub, not connected yet. Raises ``StoreUnavailable``."""
        return Subscription(self._new_connection())

    def close(self) -> None:
        """Closes the idle connections."""
        self._connections.close()

    def _exchange(self, call: Call) -> list[Any]:
        """The replies to a call's commands, over a connection of its own or in another call's company."""
        together = self._connections.take(call)
        if not together:
            if call.failure is not None:
                raise call.failure
            if call.replies is None:
                raise theirs.TimeoutError("whoever carried this call did not come back")
            return call.replies
        try:
            replies = self._send(call.connection, together)
        except BaseException as exc:
            # Where the caller itself was killed (a greenlet), those that it carried have lost their connection.
            failure = type(exc) if isinstance(exc, theirs.RedisError) else theirs.ConnectionError
            for other in together[1:]:
                other.settle(None, failure(*exc.args))
            raise
        at = len(call.commands)
        for other in together[1:]:
            other.settle(replies[at : at + len(other.commands)], None)
            at += len(other.commands)
        return replies[: len(call.commands)]

    def _send(self, connection: Any, together: list[Call]) -> list[Any]:
        try:
            connection = connection or self._new_connection()
            if not connection.is_connected:
                connection.connect()
            commands = [tuple(command) for call in together for command in call.commands]
            packed = b"".join(map(pack_command, commands))
            for call in together:
                call.sent = True
            self._write(connection, packed)
            reach("link.sent")
            replies = self._replies(connection, len(commands)) if commands else []
            self._connections.answered()
            return replies
        except BaseException:
            # A reply may be outstanding (a greenlet that is killed counts too): not to be read as another's.
            if connection is not None:
                connection.disconnect()
            raise
        finally:
            self._connections.give(connection)

    @staticmethod
    def _write(connection: Any, packed: bytes) -> None:
        # Past redis-py and gevent's sendall, which asks for the size of the socket's buffer each time.
        try:
            sent = connection._sock.send(packed)
            if sent < len(packed):
                connection._sock.sendall(memoryview(packed)[sent:])
        except TimeoutError as exc:
            raise theirs.TimeoutError("Timeout writing to socket") from exc
        except OSError as exc:
            raise theirs.ConnectionError(f"Error while writing to socket: {exc.strerror}") from exc

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
