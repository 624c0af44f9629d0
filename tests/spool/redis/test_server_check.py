"""Which Redis servers are refused, which only warned of, and how a program waits for one that may be used."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from spool.conditions import Conditions
from spool.errors import StoreUnfit
from spool.redis.link import RedisLink
from spool.redis.server_check import (
    NO_WORKER_S,
    FitnessCheck,
    check_persistence,
    check_server,
    read_info,
    used_part,
)
from tests.by_hand import HandWorker
from tests.clock import Clock
from tests.stack import ROOT, Redis

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
    assert (version or "unknown") in str(refused.value)


def test_server_that_does_not_say_its_version() -> None:
    """INFO without a version is no server that is known."""
    with pytest.raises(StoreUnfit, match="the Redis version is unknown"):
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
    assert check_server(read_info(link, "server"), read_info(link, "memory")) is None
    assert read_info(link, "server")["redis_version"]
    assert read_info(link, "memory")["maxmemory_policy"] == "noeviction"


def test_real_server_that_evicts(evicting: RedisLink) -> None:
    """It is refused as soon as it is set so, and taken when it is not any more."""
    with pytest.raises(StoreUnfit, match="allkeys-lru"):
        check_server(read_info(evicting, "server"), read_info(evicting, "memory"))
    evicting.call("CONFIG", "SET", "maxmemory-policy", "volatile-ttl")
    assert "volatile-ttl" in str(check_server(read_info(evicting, "server"), read_info(evicting, "memory")))


def test_looks_again_and_again(evicting: RedisLink, caplog: pytest.LogCaptureFixture) -> None:
    """What may be used is known from the last look; what is wrong with it is said once, and that it is over once."""
    fitness = FitnessCheck(evicting, Conditions())
    for policy in ("allkeys-lru", "noeviction", "allkeys-lru", "noeviction"):
        evicting.call("CONFIG", "SET", "maxmemory-policy", policy)
        for _ in range(3):
            fitness.look()
            assert fitness.is_fit == (policy == "noeviction")
    said = [one.getMessage() for one in caplog.records if "redis_unfit" in one.getMessage()]
    assert ["allkeys-lru" in line for line in said] == [True, False, True, False]
    assert "ended" in said[1]


def test_look_at_a_server_that_is_not_there(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One that was never reached is not used yet, and that is said once."""
    link, conditions = RedisLink(f"unix://{tmp_path / 'none.sock'}"), Conditions()
    fitness = FitnessCheck(link, conditions)
    for _ in range(3):
        fitness.look()
    assert not fitness.is_fit
    assert [one.name for one in conditions] == ["redis_away"]
    assert len([one for one in caplog.records if "redis_away" in one.getMessage()]) == 1
    link.close()


def test_look_while_redis_is_away(redis: Redis) -> None:
    """A server that was fine and does not answer now is still thought to be, and is a condition of its own."""
    link, conditions = RedisLink(redis.url), Conditions()
    fitness = FitnessCheck(link, conditions)
    fitness.look()
    link.close()
    fitness._link = RedisLink("unix:///nowhere.sock")
    fitness.look()
    assert fitness.is_fit
    assert conditions.message("redis_away") is not None
    fitness._link = RedisLink(redis.url)
    fitness.look()
    assert conditions.message("redis_away") is None


def test_memory_over_the_watermark(link: RedisLink) -> None:
    """From the watermark on it is a condition, until memory is freed; without a watermark, or a limit, it is none."""
    conditions = Conditions()
    fitness = FitnessCheck(link, conditions, watermark=0.9)
    fitness.look()
    assert conditions.message("memory_over_watermark") is None
    link.call("CONFIG", "SET", "maxmemory", 1)
    try:
        fitness.look()
        assert "90%" in str(conditions.message("memory_over_watermark"))
    finally:
        link.call("CONFIG", "SET", "maxmemory", 0)
    fitness.look()
    assert conditions.message("memory_over_watermark") is None


def test_number_of_shards(link: RedisLink) -> None:
    """The first process writes the number of shards; a process with another one is refused, and told both."""
    first, other, conditions = Conditions(), Conditions(), Conditions()
    FitnessCheck(link, first, shards=2).look()
    FitnessCheck(link, other, shards=2).look()
    wrong = FitnessCheck(link, conditions, shards=1)
    wrong.look()
    assert first.message("redis_unfit") is other.message("redis_unfit") is None
    message = conditions.message("redis_unfit") or ""
    assert "in 2 shards (key spool:{0}:shards), and this process uses 1" in message
    assert not wrong.is_fit
    link.call("DEL", "spool:{0}:shards")
    wrong.look()
    assert wrong.is_fit


def test_number_of_shards_on_a_full_server(link: RedisLink) -> None:
    """Where Redis has no memory left for the number, a process goes on without it."""
    conditions = Conditions()
    link.call("CONFIG", "SET", "maxmemory", 1)
    try:
        fitness = FitnessCheck(link, conditions, shards=1)
        fitness.look()
    finally:
        link.call("CONFIG", "SET", "maxmemory", 0)
    assert fitness.is_fit
    assert link.call("EXISTS", "spool:{0}:shards") == 0


def test_no_worker_is_heard(link: RedisLink) -> None:
    """It is said once none was heard for its time, and over with the first that is."""
    clock, conditions = Clock(), Conditions()
    fitness = FitnessCheck(link, conditions, counts_workers=True, clock=clock)
    for seconds, lasts in ((0, False), (NO_WORKER_S - 1, False), (1, True)):
        clock.now += seconds
        fitness.look()
        assert (conditions.message("no_live_worker") is not None) == lasts
    HandWorker(link).beat(free=1)
    fitness.look()
    assert conditions.message("no_live_worker") is None


def test_persistence() -> None:
    """No append-only file, and one that cannot be written, are conditions; a server that does not say is none."""
    good = {"aof_enabled": "1", "aof_last_write_status": "ok", "rdb_last_bgsave_status": "ok"}
    for info in ({}, good):
        assert set(check_persistence(info).values()) == {None}
    assert "appendonly yes" in str(check_persistence({**good, "aof_enabled": "0"})["persistence_off"])
    failing = check_persistence({**good, "aof_last_write_status": "err"})["persistence_failing"]
    assert "aof_last_write_status" in str(failing)


SPARED = ("+@all", "~spool:*", "&spool:*", "on", ">secret12")


@pytest.fixture
def user(redis: Redis, link: RedisLink) -> Iterator[Callable[..., RedisLink]]:
    """Links of a user with these rules."""
    links: list[RedisLink] = []

    def make(*rules: str) -> RedisLink:
        link.call("ACL", "SETUSER", "limited", "reset", *SPARED, *rules)
        links.append(RedisLink(f"unix://limited@{redis.socket_path}?password=secret12"))
        return links[-1]

    yield make
    for one in links:
        one.close()
    link.call("ACL", "DELUSER", "limited")


def commands_of_the_scripts() -> set[str]:
    """Every command that a script may run, from their text."""
    folder = ROOT / "spool" / "jobs" / "lua"
    text = "\n".join(path.read_text() for path in folder.rglob("*.lua"))
    return set(re.findall(r"(?:call|index|command)\('([A-Z]+)'", text))


@pytest.mark.parametrize("command", sorted(commands_of_the_scripts()))
def test_permission_that_is_missing(user: Callable[..., RedisLink], command: str) -> None:
    """The command is named, whichever of those that the scripts use it is."""
    conditions = Conditions()
    fitness = FitnessCheck(user(f"-{command}"), conditions)
    fitness.look()
    assert f" {command} " in str(conditions.message("permission_missing")).replace(",", " ")
    assert not fitness.is_fit


@pytest.mark.parametrize(
    ("rules", "named"),
    [
        (("-evalsha",), "scripts"),
        (("-eval", "-script"), None),
        (("resetkeys", "~other:*"), "to access"),
        (("resetchannels", "&other:*"), "PUBLISH"),
        (("resetkeys", "%R~spool:*"), "to access"),
    ],
)
def test_permission_for_scripts_keys_and_channels(
    user: Callable[..., RedisLink], rules: tuple[str, ...], named: str | None
) -> None:
    """A user who may not run scripts, or not on Spool's keys and channels, is found out as well."""
    conditions = Conditions()
    FitnessCheck(user(), Conditions()).look()
    FitnessCheck(user(*rules), conditions).look()
    found = conditions.message("permission_missing")
    assert found is None if named is None else named in str(found)


def test_user_that_may_do_what_is_documented(user: Callable[..., RedisLink], link: RedisLink) -> None:
    """All permissions on Spool's keys and channels are enough, and the check leaves no more than its own key."""
    conditions = Conditions()
    fitness = FitnessCheck(user(), conditions, counts_workers=True)
    for _ in range(3):
        fitness.look()
    assert conditions.message("permission_missing") is None
    assert conditions.message("redis_away") is None
    assert sorted(link.call("KEYS", "*")) == [b"spool:{0}:probe", b"spool:{0}:shards"]


def test_check_writes_nothing_anew(link: RedisLink) -> None:
    """Looks that come every second or two add nothing to the server's files."""
    fitness = FitnessCheck(link, Conditions())
    fitness.look()
    before = read_info(link, "persistence")["rdb_changes_since_last_save"]
    for _ in range(5):
        fitness.look()
    assert read_info(link, "persistence")["rdb_changes_since_last_save"] == before


def test_server_that_refuses_writes(link: RedisLink) -> None:
    """It is not away: the condition of its files says what it says itself, and ends with it."""
    conditions = Conditions()
    fitness = FitnessCheck(link, conditions)
    link.call("CONFIG", "SET", "min-replicas-to-write", 1)
    try:
        fitness.look()
        assert "NOREPLICAS" in str(conditions.message("persistence_failing"))
        assert conditions.message("redis_away") is None
    finally:
        link.call("CONFIG", "SET", "min-replicas-to-write", 0)
    fitness.look()
    assert conditions.message("persistence_failing") is None
