"""The socket under a redis-py connection, against the installed version."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest
from redis import exceptions as theirs
from redis.connection import ConnectionPool

from spool.redis.link import RedisLink, Subscription
from spool.redis.raw import read_batches, socket_of, wait_for_ever, write
from tests.stack import Redis


@pytest.fixture
def connection(redis: Redis) -> Iterator[Any]:
    """An open connection of redis-py's, as the link makes it."""
    pool: Any = ConnectionPool.from_url(redis.url, protocol=2, legacy_responses=True, socket_timeout=5)
    connection = pool.make_connection()
    connection.connect()
    yield connection
    connection.disconnect()


def test_socket_is_where_the_installed_version_keeps_it(connection: Any) -> None:
    """An open connection has a socket; a closed one raises redis-py's error for that."""
    assert isinstance(socket_of(connection), socket.socket)
    assert socket_of(connection).gettimeout() == 5
    wait_for_ever(connection)
    assert socket_of(connection).gettimeout() is None
    connection.disconnect()
    with pytest.raises(theirs.ConnectionError):
        write(connection, b"PING\r\n")


def test_written_commands_are_answered_in_batches(connection: Any) -> None:
    """Commands go out as they are; the replies of one read come as one list, in RESP2 without push frames."""
    write(connection, b"PING\r\nSUBSCRIBE a\r\n")
    replies = []
    for batch in read_batches(connection):
        replies += batch
        if len(replies) == 2:
            break
    assert replies == [b"PONG", [b"subscribe", b"a", 1]]


def test_connection_of_another_version_is_no_lost_connection() -> None:
    """A renamed attribute fails loudly: as an ``AttributeError`` it would make a subscription reconnect for ever."""

    class Renamed:
        socket_timeout = 5.0

        def connect(self) -> None: ...

    with pytest.raises(RuntimeError, match="redis-py"):
        Subscription(Renamed()).connect()
    with pytest.raises(RuntimeError, match="redis-py"):
        next(Subscription(Renamed()).messages())


def test_link_speaks_resp2(redis: Redis) -> None:
    """``read_batches`` would take RESP3's push frames for messages."""
    reply = RedisLink(redis.url).call("HELLO")
    assert reply[reply.index(b"proto") + 1] == 2
