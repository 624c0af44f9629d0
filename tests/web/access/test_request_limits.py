"""Limits of requests in one process, over a real Redis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from spool.access.caller import ANONYMOUS, BY_DEFAULT, Caller, Kind
from spool.access.door import Counter, Door, State
from spool.access.limits import KeyLimits
from spool.errors import StoreUnavailable
from spool.redis.link import RedisLink
from web.access.request_limits import RequestLimits, headers_of, openai_headers_of
from web.problems import Problem

ALICE = Caller(owner="alice", scopes=BY_DEFAULT, kind=Kind.KEY, credential="a")
STRICT = Caller(
    owner="alice", scopes=BY_DEFAULT, kind=Kind.KEY, credential="b", limits=KeyLimits(requests_per_minute=2)
)
ADDRESS = "203.0.113.7"


class CountingDoor(Door):
    """A door that counts round trips, and can be away."""

    calls = 0
    is_away = False

    def reserve(self, counters: Sequence[Counter], wanted: int) -> tuple[int, list[State]]:
        """Count it."""
        self.calls += 1
        if self.is_away:
            raise StoreUnavailable("away")
        return super().reserve(counters, wanted)


def test_burst_costs_few_round_trips(link: RedisLink) -> None:
    """A block of 1/600 of the limit is used before the next one, unless its second is over."""
    now, door = [0.0], CountingDoor(link)
    limits = RequestLimits(door, 6000, 0, clock=lambda: now[0])
    rests = [limits.admit(ALICE, "")[0].rest for _ in range(20)]
    assert rests == list(range(5999, 5979, -1))
    assert door.calls == 2
    now[0] = 1.0
    limits.admit(ALICE, "")
    assert door.calls == 3


def test_key_has_a_limit_of_its_own(link: RedisLink) -> None:
    """It is exact over processes; a refusal says when to come again, and a flood of them costs one round trip."""
    door = CountingDoor(link)
    processes = [RequestLimits(door, 6000, 0, clock=lambda: 0.0) for _ in range(2)]
    for process in processes:
        process.admit(STRICT, "")
    for _ in range(5):
        for process in processes:
            with pytest.raises(Problem, match="limit of 2 requests a minute of this credential") as caught:
                process.admit(STRICT, "")
            assert caught.value.status == 429
            assert 1 <= int(caught.value.headers["Retry-After"]) <= 61
    assert door.calls == 4
    processes[0].admit(ALICE, "")


def test_address_has_a_limit_over_all_its_callers(link: RedisLink) -> None:
    """Also without a credential. Loopback is not counted."""
    limits = RequestLimits(Door(link), 0, 2)
    for caller in (ANONYMOUS, ALICE):
        limits.admit(caller, ADDRESS)
    with pytest.raises(Problem, match="of this address"):
        limits.admit(STRICT, ADDRESS)
    assert limits.admit(ANONYMOUS, "127.0.0.1") == []


def test_nothing_is_limited_while_redis_is_away(link: RedisLink) -> None:
    """The request itself fails then."""
    door = CountingDoor(link)
    door.is_away = True
    assert RequestLimits(door, 1, 1).admit(ALICE, ADDRESS) == []


def test_headers() -> None:
    """Both limits are shown; OpenAI's clients see the one with less left."""
    states = [State(Counter("c:a", 100), 40, 7), State(Counter("a:b", 50), -1, 61)]
    assert headers_of(states) == {
        "RateLimit-Policy": '"credential";q=100;w=60, "address";q=50;w=60',
        "RateLimit": '"credential";r=40;t=7, "address";r=0;t=61',
    }
    assert openai_headers_of(states)["x-ratelimit-limit-requests"] == "50"
    assert headers_of([]) == openai_headers_of([]) == {}


def test_link_does_not_use_up_its_key(link: RedisLink) -> None:
    """It has the limit of its key, and a count of its own."""
    limits = RequestLimits(Door(link), 6000, 0)
    shared = replace(STRICT, kind=Kind.LINK, parent=Kind.KEY, job="j0-1")
    for caller in (shared, STRICT):
        for _ in range(2):
            limits.admit(caller, "")
        with pytest.raises(Problem, match="limit of 2 requests"):
            limits.admit(caller, "")
