"""The moving window of requests, in a real Redis."""

from __future__ import annotations

from spool.access.door import Counter, Door
from spool.keys import HOME, prefix
from spool.redis.link import RedisLink

ONE = Counter("c:one", 3)
KEY = f"{prefix(HOME)}door:c:one"


def test_processes_share_one_limit(link: RedisLink) -> None:
    """Together they get no more than it, and each sees the rest."""
    doors = [Door(link), Door(link)]
    granted, rest = [], []
    for number in range(5):
        count, (state,) = doors[number % 2].reserve([ONE], 1)
        granted.append(count)
        rest.append(state.rest)
    assert granted == [1, 1, 1, 0, 0]
    assert rest == [2, 1, 0, 0, 0]
    assert 0 < link.call("PTTL", KEY) <= 62_000


def test_part_of_a_block_is_granted(link: RedisLink) -> None:
    """What is left, if more is wanted."""
    door = Door(link)
    assert door.reserve([ONE], 2)[0] == 2
    assert door.reserve([ONE], 2)[0] == 1


def test_window_moves(link: RedisLink) -> None:
    """A request counts for a whole minute, and not after it."""
    second = int(link.call("TIME")[0])
    link.call("HSET", KEY, second - 50, 2, second - 62, 3)
    granted, (state,) = Door(link).reserve([ONE], 3)
    assert granted == 1
    assert 8 <= state.reset_s <= 11
    assert link.call("HEXISTS", KEY, second - 62) == 0


def test_clock_that_jumped_back_blocks_nobody(link: RedisLink) -> None:
    """Counts of the far future are dropped, and so is damage."""
    link.call("HSET", KEY, int(link.call("TIME")[0]) + 3600, 3, "x", "y")
    assert Door(link).reserve([ONE], 3)[0] == 3


def test_all_counters_grant_the_same(link: RedisLink) -> None:
    """The smallest decides, and the others do not count what was not granted."""
    door, other = Door(link), Counter("a:two", 100)
    granted, (first, second) = door.reserve([ONE, other], 5)
    assert granted == 3
    assert (first.rest, second.rest) == (0, 97)
