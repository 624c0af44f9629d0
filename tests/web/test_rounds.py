"""Rounds: how many requests compute before everything else runs."""

from __future__ import annotations

import gevent
import gevent.socket

from web.rounds import ROUND_S, Rounds


class Process:
    """Requests that each compute for a part of a round, on a clock of their own."""

    def __init__(self) -> None:
        self.now = 0.0
        self.order: list[object] = []
        self.rounds = Rounds(lambda: self.now, self._rest)

    def request(self, name: object, part: float = 0.6) -> None:
        """One request."""
        self.rounds.enter()
        self.order.append(name)
        self.now += part * ROUND_S

    def _rest(self) -> None:
        self.order.append("rest")
        # No timer: how late one is depends on the machine.
        gevent.sleep(0)


def test_requests_at_one_moment() -> None:
    """Those that fill a round run at once; the others in rounds to come, in their order, with rests between."""
    process = Process()
    gevent.joinall([gevent.spawn(process.request, number) for number in range(6)], timeout=60)
    assert process.order[:8] == [0, 1, "rest", 2, 3, "rest", 4, 5]


def test_request_that_comes_while_others_wait() -> None:
    """It does not overtake them."""
    process = Process()

    def two(name: str) -> None:
        process.request(f"{name}1")
        process.request(f"{name}2")

    gevent.joinall([gevent.spawn(two, name) for name in "ab"], timeout=60)
    assert [name for name in process.order if name != "rest"] == ["a1", "a2", "b1", "b2"]


def test_requests_one_after_the_other() -> None:
    """Nothing waits where everything else has run in between, however long each request computes."""
    process = Process()
    for number in range(5):
        process.request(number, 3.0)
        gevent.sleep(0.001)
    assert process.order == [0, 1, 2, 3, 4]


def test_others_run_between_rounds() -> None:
    """What waits for the hub gets its turn before all requests have run."""
    rounds, order = Rounds(), []
    pipe, other = gevent.socket.socketpair()

    def request(number: int) -> None:
        rounds.enter()
        order.append(number)
        busy_until = rounds._clock() + ROUND_S
        while rounds._clock() < busy_until:
            pass

    def token() -> None:
        pipe.recv(1)
        order.append(-1)

    running = [gevent.spawn(token), *(gevent.spawn(request, number) for number in range(10))]
    other.send(b"x")
    gevent.joinall(running, timeout=60)
    pipe.close()
    other.close()
    assert order.index(-1) <= 2
