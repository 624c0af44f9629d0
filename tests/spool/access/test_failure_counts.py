"""Failed logins in Redis."""

from __future__ import annotations

from spool.access.failure_counts import ADDRESSES_AT_MOST, WINDOW_S, FailureCounts
from spool.keys import HOME, prefix
from spool.redis.link import RedisLink

KEY = f"{prefix(HOME)}failed-logins"


def test_failures_are_counted_by_address_until_the_minute_is_over(link: RedisLink) -> None:
    """Each address has its own count, and all expire together, a minute after the first failure."""
    counts = FailureCounts(link)
    assert [counts.note(address)[0] for address in ("a", "b", "a")] == [1, 1, 2]
    assert 0 < counts.note("b")[1] <= WINDOW_S
    assert 0 < link.call("PTTL", KEY) <= WINDOW_S * 1000


def test_addresses_are_bounded(link: RedisLink) -> None:
    """Beyond the limit, new addresses are not counted; those that are counted still are."""
    counts = FailureCounts(link)
    counts.note("a")
    link.call("HSET", KEY, *(part for number in range(ADDRESSES_AT_MOST) for part in (f"192.0.2.{number}", 1)))
    assert counts.note("b")[0] == 0
    assert counts.note("a")[0] == 2
    assert link.call("HLEN", KEY) == ADDRESSES_AT_MOST + 1


def test_key_of_another_type_counts_nothing(link: RedisLink) -> None:
    """Then each process goes by its own count."""
    link.call("SET", KEY, "no hash")
    assert FailureCounts(link).note("a") == (0, WINDOW_S)
