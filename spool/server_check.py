"""Whether a Redis server keeps what it is given: its version, and what it does when its memory is full."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from spool.errors import StoreUnavailable, StoreUnfit
from spool.redis_link import RedisLink

log = logging.getLogger("spool.redis")

OLDEST = (7, 0)
"""Script flags (``#!lua flags=allow-oom``) came with Redis 7.0."""
_AGAIN_S = 2.0
_LOOK_AGAIN = 15
"""A server that is unfit is said to be so once in so many looks."""


def read_info(link: RedisLink, section: str) -> dict[str, str]:
    """INFO as a table. Raises ``StoreUnavailable``."""
    lines = link.call("INFO", section).decode().splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)


def used_part(memory: Mapping[str, str]) -> float:
    """The part of maxmemory that is used; 0 where there is no limit."""
    limit = int(memory.get("maxmemory", 0))
    return int(memory.get("used_memory", 0)) / limit if limit else 0.0


def check_server(server: Mapping[str, str], memory: Mapping[str, str]) -> str | None:
    """From ``INFO server`` and ``INFO memory``: what may lose ended logs early, in words, or None.

    Raises ``StoreUnfit`` for a server that must not be used: one that is too old for the scripts, or that throws away
    keys of jobs that have not ended when its memory is full. Valkey calls itself Redis 7.2 here.
    """
    version = server.get("redis_version", "")
    numbers = tuple(int(part) if part.isdigit() else 0 for part in version.split(".")[:2])
    if numbers < OLDEST:
        raise StoreUnfit(f"the Redis server is {version or 'of no known version'}; Spool needs 7.0 or newer, or Valkey")
    policy, limit = memory.get("maxmemory_policy", "noeviction"), int(memory.get("maxmemory", 0))
    if policy.startswith("allkeys-") and limit:
        raise StoreUnfit(f"the Redis server evicts jobs (maxmemory-policy {policy}); Spool needs noeviction")
    if policy != "noeviction":
        return f"maxmemory-policy {policy} may throw away jobs before they expire; noeviction is what Spool needs"
    return None


def check_link(link: RedisLink) -> str | None:
    """``check_server`` of the server that the link leads to. Raises ``StoreUnfit`` or ``StoreUnavailable``."""
    return check_server(read_info(link, "server"), read_info(link, "memory"))


def wait_until_fit(link: RedisLink, wait: Callable[[float], object], stopped: Callable[[], bool]) -> bool:
    """Wait until Redis answers and may be used; False if ``stopped`` first. Says now and then what is wrong with it."""
    looks = 0
    while not stopped():
        try:
            warning = check_link(link)
        except StoreUnfit as exc:
            if looks % _LOOK_AGAIN == 0:
                log.error("no jobs are taken: %s", exc)
        except StoreUnavailable as exc:
            if looks % _LOOK_AGAIN == 0:
                log.warning("Redis is not there yet: %s", exc)
        else:
            if warning:
                log.warning(warning)
            return True
        looks += 1
        wait(_AGAIN_S)
    return False
