"""Checks of Redis and the broker."""

from __future__ import annotations

import time
from collections.abc import Iterator

from kombu import Connection

from spool.broker import broker_connection
from spool.conditions import NAMES, STOPS, UNHEARD, Conditions
from spool.errors import SettingsError, StoreUnavailable
from spool.jobs.shards import Shards
from spool.redis.link import RedisLink
from spool.redis.server_check import FitnessCheck, read_info
from spool.redis.urls import broker_url_from
from spool.settings import RunSettings
from spool.status.finding import Finding, error, ok, warning

_SKEW_S = 2.0
_NO_REPLICAS = "connect its replicas again, or lower min-replicas-to-write"
_REMEDIES = {
    "redis_away": "check host, port, user and password of SPOOL_REDIS_URL, and that the server is a primary that runs",
    "redis_unfit": "use Redis 7.0 or newer, or Valkey, with maxmemory-policy noeviction and one number of shards",
    "permission_missing": "grant the commands; docs/operations.md has the ACL",
    "memory_over_watermark": "raise maxmemory, lower SPOOL_JOB_TTL_S, or delete jobs that have ended",
    "eviction_possible": "CONFIG SET maxmemory-policy noeviction",
    "persistence_off": "CONFIG SET appendonly yes, and set it in redis.conf",
    "persistence_failing": "see Redis's log; free space on its disk, or let it write its directory",
}


def check_redis(link: RedisLink, settings: RunSettings) -> Iterator[Finding]:
    """Reachability, fitness, permissions, memory and clock of the server."""
    conditions = Conditions(logger=UNHEARD)
    FitnessCheck(link, conditions, watermark=settings.memory_watermark, shards=settings.shards).look()
    for name in NAMES:
        message = conditions.message(name)
        if name == "no_live_worker" or (message is None and conditions.message("redis_away")):
            continue
        if message is None:
            yield ok(name, "does not hold")
        elif name in STOPS:
            yield error(name, message, _remedy(name, message))
        else:
            yield warning(name, message, _remedy(name, message))
    if conditions.message("redis_away"):
        return
    try:
        yield _check_limit(link)
        yield check_clock(link)
    except StoreUnavailable as exc:
        yield error("redis_away", f"Redis stopped answering: {exc}", _REMEDIES["redis_away"])


def _remedy(condition: str, message: str) -> str:
    return _NO_REPLICAS if "NOREPLICAS" in message else _REMEDIES[condition]


def _check_limit(link: RedisLink) -> Finding:
    memory = read_info(link, "memory")
    limit, used = int(memory.get("maxmemory", 0)), int(memory.get("used_memory", 0))
    if limit:
        return ok("redis-memory", f"{used // 2**20} of {limit // 2**20} MiB are used")
    return warning(
        "redis-memory",
        f"Redis has no maxmemory ({used // 2**20} MiB are used), so no submit is refused before the machine is full",
        "set maxmemory to what Redis may use",
    )


def check_clock(link: RedisLink, now: float | None = None) -> Finding:
    """Whether this machine's clock agrees with Redis's."""
    seconds, micros = link.call("TIME")
    skew_s = (time.time() if now is None else now) - int(seconds) - int(micros) / 1e6
    if abs(skew_s) <= _SKEW_S:
        return ok("clock", "this machine's clock agrees with Redis's")
    return warning(
        "clock",
        f"this machine's clock is {abs(skew_s):.0f} s {'ahead of' if skew_s > 0 else 'behind'} Redis's: expiry of "
        "links and tokens, log lines and delivery delays are off by that",
        "synchronise the clocks (chrony, systemd-timesyncd)",
    )


def check_broker(settings: RunSettings, redis_url: str) -> Finding:
    """Whether bells reach the broker."""
    given = settings.broker_url.get_secret_value()
    if not given:
        return ok("broker", "is the same Redis")
    try:
        url, tls = broker_connection(given or broker_url_from(redis_url))
        with Connection(url, ssl=tls or False, connect_timeout=3) as connection:
            connection.ensure_connection(max_retries=1, interval_start=0, timeout=5)
    except SettingsError as exc:
        return error("broker", str(exc), "correct SPOOL_BROKER_URL")
    except Exception as exc:  # noqa: BLE001 - each transport has errors of its own
        return warning(
            "broker",
            f"SPOOL_BROKER_URL does not answer ({type(exc).__name__}): workers look for jobs once a second instead",
            "check its host, port, user and password",
        )
    return ok("broker", "answers")


def shards_on(link: RedisLink, settings: RunSettings) -> Shards:
    """The shards of this deployment."""
    return Shards.on(link, settings.shards)
