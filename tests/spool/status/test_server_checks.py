"""Checks of Redis and the broker."""

from __future__ import annotations

import time

from spool.redis.link import RedisLink
from spool.redis.urls import broker_url_from
from spool.settings import RunSettings
from spool.status.finding import Level
from spool.status.server_checks import check_broker, check_clock, check_redis
from tests.stack import Redis


def wrong(link: RedisLink) -> dict[str, Level]:
    """What is wrong with this server."""
    return {one.check: one.level for one in check_redis(link, RunSettings()) if one.level is not Level.OK}


def test_server_that_loses_data(link: RedisLink) -> None:
    """No file and no limit are warnings; a policy that evicts jobs is an error. Each has a remedy."""
    assert wrong(link) == {"persistence_off": Level.WARNING, "redis-memory": Level.WARNING}
    link.call("CONFIG", "SET", "maxmemory", 2**40, "maxmemory-policy", "allkeys-lru")
    try:
        assert wrong(link)["redis_unfit"] is Level.ERROR
    finally:
        link.call("CONFIG", "SET", "maxmemory", 0, "maxmemory-policy", "noeviction")


def test_server_without_its_replicas(link: RedisLink) -> None:
    """The remedy is about replicas, not about a disk."""
    link.call("CONFIG", "SET", "min-replicas-to-write", 1)
    try:
        remedies = {one.check: one.remedy for one in check_redis(link, RunSettings())}
    finally:
        link.call("CONFIG", "SET", "min-replicas-to-write", 0)
    assert "min-replicas-to-write" in remedies["persistence_failing"]


def test_server_that_is_away() -> None:
    """There is one error, and no guess about the rest."""
    link = RedisLink("redis://:wrong-password@127.0.0.1:1", timeout_s=0.5)
    (found,) = check_redis(link, RunSettings())
    assert (found.check, found.level, "wrong-password" in found.message) == ("redis_away", Level.ERROR, False)


def test_clock(link: RedisLink) -> None:
    """A clock that is minutes off is a warning with the difference."""
    assert check_clock(link).level is Level.OK
    found = check_clock(link, time.time() - 300)
    assert (found.level, "behind" in found.message) == (Level.WARNING, True)


def test_broker(redis: Redis) -> None:
    """The same Redis needs no check; another one that does not answer is a warning without its password."""
    assert check_broker(RunSettings(), redis.url).level is Level.OK
    other = RunSettings(broker_url=broker_url_from(redis.url))  # type: ignore[arg-type]
    assert check_broker(other, redis.url).level is Level.OK
    away = RunSettings(broker_url="redis://:wrong-password@127.0.0.1:1")  # type: ignore[arg-type]
    found = check_broker(away, redis.url)
    assert (found.level, "wrong-password" in found.message) == (Level.WARNING, False)
