"""Connections as the table counts them: which of them closes when there is hardly room."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from web.server.connections import Connection, ConnectionTable

LIMIT = 10
FULL_AT = 9


class Clients:
    """A table, and connections of clients of it."""

    def __init__(self, limit: int = LIMIT) -> None:
        self.now = 0.0
        self.table = ConnectionTable(limit, clock=lambda: self.now)
        self._sockets: list[socket.socket] = []

    def connect(self, address: str = "10.0.0.1") -> tuple[Connection, socket.socket]:
        """A connection, and the client's end of it."""
        ours, client = socket.socketpair()
        self._sockets += [ours, client]
        client.setblocking(False)
        self.now += 1
        self.table.enter()
        return Connection(ours, (address, 1)), client

    def close(self) -> None:
        """Close all."""
        for one in self._sockets:
            one.close()


@pytest.fixture
def clients() -> Iterator[Clients]:
    """No connections yet."""
    one = Clients()
    yield one
    one.close()


def is_closed(client: socket.socket) -> bool:
    """Whether the server has hung up."""
    try:
        return client.recv(1) == b""
    except BlockingIOError:
        return False


def fill(clients: Clients, put: Any, address: str = "10.0.0.1") -> list[socket.socket]:
    """As many connections as there may be without one of them closing."""
    ends = []
    while clients.table.open < FULL_AT:
        connection, client = clients.connect(address)
        put(connection)
        ends.append(client)
    return ends


def test_connections_while_there_is_room(clients: Clients) -> None:
    """Nothing closes before nearly all places are taken."""
    ends = fill(clients, clients.table.idle)
    assert not clients.table.is_crowded
    assert not any(map(is_closed, ends))


def test_new_connection_closes_the_one_that_is_idle_longest(clients: Clients) -> None:
    """One for one, the longest idle first."""
    ends = fill(clients, clients.table.idle)
    for number in (1, 2, 3):
        clients.connect()
        assert [is_closed(end) for end in ends] == [True] * number + [False] * (len(ends) - number)


def test_connection_that_went_on_counts_from_its_last_request(clients: Clients) -> None:
    """A request makes a connection the last in the row again."""
    connection, client = clients.connect()
    clients.table.idle(connection)
    ends = fill(clients, clients.table.idle)
    clients.table.proceed(connection)
    clients.table.idle(connection)
    clients.connect()
    assert (is_closed(ends[0]), is_closed(client)) == (True, False)


def test_idle_connections_close_before_requests_that_arrive(clients: Clients) -> None:
    """A request that is not whole goes only where no connection is idle, and what is being answered never does."""
    receiving, receiving_end = clients.connect()
    clients.table.receive(receiving)
    idle, idle_end = clients.connect()
    clients.table.idle(idle)
    answered = fill(clients, lambda _connection: None)
    clients.connect()
    assert (is_closed(idle_end), is_closed(receiving_end)) == (True, False)
    clients.connect()
    assert is_closed(receiving_end)
    clients.connect()
    assert not any(map(is_closed, answered))


def test_connections_that_are_new_stay(clients: Clients) -> None:
    """A client that has only just connected may have sent its request: slow requests close before it."""
    receiving = fill(clients, clients.table.receive)
    for number in (1, 2, 3):
        new, end = clients.connect()
        clients.table.idle(new)
        clients.now -= 0.9
        assert not is_closed(end)
        assert [is_closed(one) for one in receiving] == [True] * number + [False] * (len(receiving) - number)


def test_client_that_takes_nothing_closes_after_a_while(clients: Clients) -> None:
    """A client that is only slow is left alone."""
    stalled, end = clients.connect()
    fill(clients, lambda _connection: None)
    clients.table.stall(stalled)
    clients.now -= 1
    clients.connect()
    assert not is_closed(end)
    clients.now += 5
    clients.connect()
    assert is_closed(end)


def test_address_with_most_connections_loses_one(clients: Clients) -> None:
    """One address that opens many closes its own, also where others have waited longer."""
    connection, end = clients.connect("10.0.0.9")
    clients.table.idle(connection)
    ends = fill(clients, clients.table.idle, "10.0.0.1")
    clients.connect("10.0.0.2")
    assert (is_closed(end), is_closed(ends[0])) == (False, True)


def test_idle_connections_are_hung_up_on_where_nothing_has_come(clients: Clients) -> None:
    """A request that has begun to arrive is not lost."""
    silent, silent_end = clients.connect()
    speaking, speaking_end = clients.connect()
    speaking_end.send(b"POST")
    for connection in (silent, speaking):
        clients.table.idle(connection)
    clients.table.hang_up_idle()
    assert (is_closed(silent_end), is_closed(speaking_end)) == (True, False)


def test_connections_that_left_take_no_place(clients: Clients) -> None:
    """Whether they waited or not."""
    connection, _ = clients.connect()
    clients.table.idle(connection)
    clients.table.leave(connection)
    other, _ = clients.connect()
    clients.table.leave(other)
    assert clients.table.open == 0


def test_connection_that_was_closed_takes_no_place(clients: Clients) -> None:
    """Its place is free before it notices, so that one new connection closes one other; and is not freed twice."""
    connection, _ = clients.connect()
    clients.table.idle(connection)
    fill(clients, clients.table.idle)
    clients.connect()
    assert clients.table.open == FULL_AT
    clients.table.receive(connection)
    clients.table.leave(connection)
    assert clients.table.open == FULL_AT


def test_new_connection_of_a_busy_process_stays(clients: Clients) -> None:
    """Where few connections wait for their clients, one that is young has not been looked at yet, and stays."""
    new, end = clients.connect()
    clients.table.idle(new)
    fill(clients, lambda _connection: None)
    clients.now = new.since - 1
    clients.connect()
    assert not is_closed(end)


@pytest.mark.parametrize("limit", [1, 2, 7])
def test_small_table_has_room_for_a_new_connection(limit: int) -> None:
    """The last place of all stays free, also where a tenth is less than a place: a full table takes nobody who could
    close a waiting connection."""
    clients = Clients(limit)
    for _ in range(3 * limit):
        connection, _client = clients.connect()
        assert clients.table.open <= limit
        clients.table.idle(connection)
    assert clients.table.open < limit or limit == 1
    clients.close()
