"""Commands and scripts on Redis: a bounded connection pool, raw replies, Spool's own errors (``spool.redis.errors``).

redis-py provides URL parsing, TLS, authentication and the reply parser. Its client is not used, because one client call
costs as much as all other work of Spool per commit. Replies are RESP2 as the parser returns them: bytes, int, list,
None.

A call that lost its connection is resent once. That is safe because every write of Spool is an idempotent script:
submits by id, claims by fence, appends by entry id, the rest by state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from time import monotonic
from typing import Any

import hiredis
import redis
from hiredis import pack_command
from redis import exceptions as theirs
from redis.connection import ConnectionPool

from spool.errors import OutcomeUnknown, StoreUnavailable
from spool.fail_points import reach
from spool.keys import prefix
from spool.metrics import ONE_CALL_IN, REDIS_CALLS, REDIS_ERRORS
from spool.redis.errors import away, translated
from spool.redis.pool import Call, Command, Connections
from spool.redis.raw import read_batches, wait_for_ever, write
from spool.redis.script import Script

_INFO: Command = ("INFO", "server")
_LOADS = 3
"""Loads of a script that Redis forgets again and again, for one call."""


class RedisLink:
    """Commands and scripts on one Redis server.

    ``timeout_s`` bounds every connect, wait for a free connection, write and read. At most ``connections`` are open at
    a time. If another call times out while a caller waits for a connection, that caller fails without a second timeout.
    """

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
        self._calls = 0
        self._observe, self._failed = REDIS_CALLS.labels(name).observe, REDIS_ERRORS.labels(name).inc
        self._loaded: dict[str, str] = {}
        """Script → the same on the last run of the server that is known, by their digests."""

    def call(self, *command: Any) -> Any:
        """Run one command and return its reply. Raises ``StoreUnavailable``."""
        return self.pipeline([command])[0]

    def pipeline(self, commands: Sequence[Command]) -> list[Any]:
        """Run several commands in one round trip, not atomically, and return their replies. Raises the first error
        among them."""
        replies = self.pipeline_each(commands)
        for reply in replies:
            if isinstance(reply, Exception):
                raise translated(reply) from reply
        return replies

    def pipeline_each(self, commands: Sequence[Command]) -> list[Any]:
        """Like ``pipeline``, but returns each error as an exception in place of its reply."""
        return self._repeated(lambda: Call(commands))

    def _repeated(self, new_call: Callable[[], Call]) -> list[Any]:
        lost = False
        for attempt in (1, 2):
            call = new_call()
            self._calls += 1
            # One in 16: each commit of tokens is a call, and clock and histogram cost too much for all.
            began = None if self._calls % ONE_CALL_IN else monotonic()
            try:
                replies = self._exchange(call)
                if began is not None:
                    self._observe(monotonic() - began)
                return replies
            except (theirs.ConnectionError, theirs.TimeoutError) as exc:
                if isinstance(exc, theirs.TimeoutError):
                    self._connections.timed_out()
                # A subclass of these is a refusal by Redis: the command was not executed.
                lost = lost or (call.sent and type(exc) in (theirs.ConnectionError, theirs.TimeoutError))
                self._failed()
                if attempt == 2 or type(exc) is not theirs.ConnectionError:
                    raise away(exc, lost) from exc
            except theirs.RedisError as exc:
                self._failed()
                raise away(exc, lost) from exc
            except StoreUnavailable as exc:
                self._failed()
                # No connection was free. The first try may still have been executed.
                raise (OutcomeUnknown(str(exc)) if lost or call.sent else exc) from exc
        raise AssertionError("unreachable")

    def run(self, script: Script, shard: int, *args: Any) -> Any:
        """Run one script on a shard's keys and return its reply. Raises ``StoreUnavailable``."""
        return self.run_many(script, shard, [args])[0]

    def run_many(self, script: Script, shard: int, calls: Sequence[Command]) -> list[Any]:
        """Run the same script several times in one round trip. Raises the first error among the replies."""
        replies = self.run_each(script, shard, calls)
        for reply in replies:
            if isinstance(reply, Exception):
                raise translated(reply) from reply
        return replies

    def run_each(self, script: Script, shard: int, calls: Sequence[Command]) -> list[Any]:
        """Like ``run_many``, but returns each error as an exception in place of its reply."""
        sha = self._loaded.get(script.sha, script.sha)
        replies = self.pipeline_each([("EVALSHA", sha, 1, prefix(shard), *args) for args in calls])
        commands_on = partial(self._load, script, shard, calls)
        for _ in range(_LOADS):
            if not any(isinstance(reply, theirs.NoScriptError) for reply in replies):
                break
            # The script is missing for all calls, or was flushed half-way. Completed calls may safely run again.
            _loaded, *replies = self._repeated(lambda: Call((), commands_on))
        return replies

    def _load(self, script: Script, shard: int, calls: Sequence[Command], run_id: str) -> list[Command]:
        """The commands that load a script on this run and call it, in one round trip. A flush may still intervene, for
        Redis reads a long script and the calls behind it in several pieces."""
        on_run = script.on_run(run_id)
        self._loaded[script.sha] = on_run.sha
        return [("SCRIPT", "LOAD", on_run.text), *(("EVALSHA", on_run.sha, 1, prefix(shard), *args) for args in calls)]

    def subscription(self) -> Subscription:
        """A dedicated connection for pub/sub, not connected yet. Raises ``StoreUnavailable``."""
        return Subscription(self._new_connection())

    def close(self) -> None:
        """Close the idle connections."""
        self._connections.close()

    def _exchange(self, call: Call) -> list[Any]:
        """The replies to a call's commands, over a connection of its own or in another call's batch."""
        batch = self._connections.take(call)
        if not batch:
            if call.failure is not None:
                raise call.failure
            if call.replies is None:
                raise theirs.TimeoutError("the batched call was never answered")
            return call.replies
        try:
            replies = self._send(call.connection, batch)
        except BaseException as exc:
            # If the caller itself was killed (a greenlet), the calls in its batch have lost their connection.
            failure = type(exc) if isinstance(exc, theirs.RedisError) else theirs.ConnectionError
            for other in batch[1:]:
                other.settle(None, failure(*exc.args))
            raise
        at = len(call.commands)
        for other in batch[1:]:
            other.settle(replies[at : at + len(other.commands)], None)
            at += len(other.commands)
        return replies[: len(call.commands)]

    def _send(self, connection: Any, batch: list[Call]) -> list[Any]:
        try:
            connection = connection or self._new_connection()
            if not connection.is_connected:
                connection.connect()
            first = batch[0]
            if first.commands_on is not None:
                first.commands = first.commands_on(self._run_id(connection))
            commands = [tuple(command) for call in batch for command in call.commands]
            packed = b"".join(map(pack_command, commands))
            for call in batch:
                call.sent = True
            write(connection, packed)
            reach("link.sent")
            replies = self._replies(connection, len(commands)) if commands else []
            self._connections.answered()
            return replies
        except BaseException:
            # A reply may be outstanding, also after a killed greenlet. The next caller must not read it as its own.
            if connection is not None:
                connection.disconnect()
            raise
        finally:
            self._connections.give(connection)

    def _run_id(self, connection: Any) -> str:
        """The run id of the server at the other end of this connection."""
        write(connection, pack_command(tuple(_INFO)))
        for line in connection.read_response().decode().splitlines():
            name, _, value = line.partition(":")
            if name == "run_id":
                return str(value)
        raise theirs.ResponseError("INFO server has no run_id")

    @staticmethod
    def _replies(connection: Any, count: int) -> list[Any]:
        replies: list[Any] = []
        for _ in range(count):
            try:
                replies.append(connection.read_response())
            except theirs.ResponseError as exc:
                # The remaining replies are still on the wire, and must be read before the connection is used again.
                replies.append(exc)
        if any(isinstance(reply, theirs.ReadOnlyError) for reply in replies):
            # A replica, after a failover: the host name may resolve to another server by now.
            connection.disconnect()
        return replies

    def _new_connection(self) -> Any:
        # Not the pool's make_connection, which also counts connections closed long ago.
        try:
            return self._factory.connection_class(**self._factory.connection_kwargs)
        except OSError as exc:
            # redis-py opens a file for each connection: this process has reached its limit of open files.
            raise StoreUnavailable(f"Redis: cannot open a connection: {exc.strerror}") from exc


class Subscription:
    """One pub/sub connection. One greenlet reads, one writes. Every call may raise ``StoreUnavailable``."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def connect(self) -> None:
        """Connect and authenticate within the link's timeout. After that, silence is normal: the reader detects a dead
        peer with PING."""
        with _translating():
            self._connection.connect()
            wait_for_ever(self._connection)

    def send(self, *command: Any) -> None:
        """Send SUBSCRIBE, UNSUBSCRIBE or PING. The reply is among the ``messages``."""
        with _translating():
            self._connection.send_packed_command(self._connection.pack_command(*command), check_health=False)

    def messages(self) -> Iterator[list[Any]]:
        """Yield the messages of each read as one list. A message is ``[b"message", channel, data]``,
        ``[b"subscribe", channel, count]`` or a pong."""
        with _translating():
            for messages in read_batches(self._connection):
                for message in messages:
                    if isinstance(message, hiredis.ReplyError):
                        raise StoreUnavailable(f"Redis: {message}")
                yield messages
        raise StoreUnavailable("Redis: connection closed")

    def close(self) -> None:
        """Close the connection; a wait for ``messages`` then raises."""
        self._connection.disconnect()


@contextmanager
def _translating() -> Iterator[None]:
    try:
        yield
    except theirs.RedisError as exc:
        raise translated(exc) from exc
    except (OSError, AttributeError, ValueError, hiredis.HiredisError) as exc:
        # Errors that redis-py does not translate when its socket is closed during a read.
        raise StoreUnavailable("Redis: connection closed") from exc
