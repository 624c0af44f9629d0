"""Whether a Redis server keeps what it is given: its version, and what it does when its memory is full."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from spool.errors import StoreUnavailable, StoreUnfit
from spool.redis_link import RedisLink

log = logging.getLogger("spool.redis")

OLDEST = (7, 0)
"""Script flags (``#!lua flags=allow-oom``) came with Redis 7.0."""


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


class FitnessCheck:
    """Looks whether Redis may be used, and says what is wrong with it when that changes."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link
        self._said: str | None = None
        self.is_fit = False
        """What came of the last look that was answered."""

    def look(self) -> None:
        """Look once. While Redis is away, what was known of it stays known."""
        try:
            found = check_link(self._link)
            self.is_fit = True
        except StoreUnfit as exc:
            found = f"no jobs are taken: {exc}"
            self.is_fit = False
        except StoreUnavailable:
            return
        if found and found != self._said:
            log.log(logging.WARNING if self.is_fit else logging.ERROR, found)
        self._said = found
