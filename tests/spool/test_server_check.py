"""Which Redis servers are refused, which only warned of, and how a program waits for one that may be used."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from spool.errors import StoreUnfit
from spool.redis_link import RedisLink
from spool.server_check import FitnessCheck, check_link, check_server, read_info, used_part
from tests.stack import Redis

NEW_ENOUGH = {"redis_version": "7.0.0"}
GIB = str(2**30)


def memory(policy: str = "noeviction", limit: str = "0", used: str = "0") -> dict[str, str]:
    """What INFO memory says."""
    return {"maxmemory_policy": policy, "maxmemory": limit, "used_memory": used}


@pytest.mark.parametrize("version", ["7.0.0", "7.0.15", "7.2.4", "7.4.1", "8.0.0", "10.0.0", "7.0"])
def test_version_that_is_new_enough(version: str) -> None:
    """From 7.0 on a server knows the scripts' flags."""
    assert check_server({"redis_version": version}, memory()) is None


@pytest.mark.parametrize("version", ["6.2.14", "6.999.999", "5.0.7", "2.8", "", "unknown", "6"])
def test_version_that_is_too_old(version: str) -> None:
    """An older one, or one that does not say, is refused, with what it is and what is wanted."""
    with pytest.raises(StoreUnfit, match=r"7\.0 or newer, or Valkey") as refused:
        check_server({"redis_version": version}, memory())
    assert (version or "no known version") in str(refused.value)


def test_server_that_does_not_say_its_version() -> None:
    """INFO without a version is no server that is known."""
    with pytest.raises(StoreUnfit, match="no known version"):
        check_server({}, memory())


def test_valkey() -> None:
    """Valkey calls itself Redis 7.2 and names its own version beside it."""
    info = {"redis_version": "7.2.4", "server_name": "valkey", "valkey_version": "8.1.3", "server_mode": "standalone"}
    assert check_server(info, memory()) is None


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-lfu", "allkeys-random"])
def test_policy_that_evicts_what_has_not_ended(policy: str) -> None:
    """With a limit it is refused, by its name; without one nothing is ever evicted, so that is only warned of."""
    with pytest.raises(StoreUnfit, match=policy) as refused:
        check_server(NEW_ENOUGH, memory(policy, GIB))
    assert "noeviction" in str(refused.value)
    assert policy in str(check_server(NEW_ENOUGH, memory(policy)))


@pytest.mark.parametrize("policy", ["volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl"])
def test_policy_that_evicts_what_has_ended(policy: str) -> None:
    """Only jobs that have ended have an expiry: with or without a limit it is warned of, by its name."""
    for limit in ("0", GIB):
        assert policy in str(check_server(NEW_ENOUGH, memory(policy, limit)))


def test_policy_that_is_not_told() -> None:
    """A server that hides its memory's settings is taken as it is."""
    assert check_server(NEW_ENOUGH, {}) is None


def test_used_part() -> None:
    """The part of the limit that is used, 0 without a limit."""
    assert used_part(memory(limit="200", used="50")) == 0.25
    assert used_part(memory(limit="100", used="130")) == 1.3
    assert used_part(memory(used="50")) == 0
    assert used_part({}) == 0


@pytest.fixture
def evicting(link: RedisLink) -> Iterator[RedisLink]:
    """A real server that would evict anything."""
    link.call("CONFIG", "SET", "maxmemory", "100mb")
    link.call("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    yield link
    link.call("CONFIG", "SET", "maxmemory-policy", "noeviction")
    link.call("CONFIG", "SET", "maxmemory", "0")


def test_real_server(link: RedisLink) -> None:
    """The server that the tests run on says all that is asked of it."""
    assert check_link(link) is None
    assert read_info(link, "server")["redis_version"]
    assert read_info(link, "memory")["maxmemory_policy"] == "noeviction"


def test_real_server_that_evicts(evicting: RedisLink) -> None:
    """It is refused as soon as it is set so, and taken when it is not any more."""
    with pytest.raises(StoreUnfit, match="allkeys-lru"):
        check_link(evicting)
    evicting.call("CONFIG", "SET", "maxmemory-policy", "volatile-ttl")
    assert "volatile-ttl" in str(check_link(evicting))


def test_looks_again_and_again(evicting: RedisLink, caplog: pytest.LogCaptureFixture) -> None:
    """What may be used is known from the last look, and what is wrong with it is said once."""
    fitness = FitnessCheck(evicting)
    for _ in range(3):
        fitness.look()
        assert not fitness.is_fit
    evicting.call("CONFIG", "SET", "maxmemory-policy", "noeviction")
    fitness.look()
    assert fitness.is_fit
    evicting.call("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    fitness.look()
    assert not fitness.is_fit
    said = [one.getMessage() for one in caplog.records if "no jobs are taken" in one.getMessage()]
    assert len(said) == 2
    assert "allkeys-lru" in said[0]


def test_look_at_a_server_that_is_not_there(tmp_path: Path) -> None:
    """One that was never reached is not used yet."""
    link = RedisLink(f"unix://{tmp_path / 'none.sock'}")
    fitness = FitnessCheck(link)
    fitness.look()
    assert not fitness.is_fit
    link.close()


def test_look_while_redis_is_away(redis: Redis) -> None:
    """A server that was fine and does not answer now is still thought to be."""
    link = RedisLink(redis.url)
    fitness = FitnessCheck(link)
    fitness.look()
    link.close()
    fitness._link = RedisLink("unix:///nowhere.sock")
    fitness.look()
    assert fitness.is_fit
