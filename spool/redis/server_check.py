"""Checks whether a Redis server is usable and durable, and reports the result in a process's ``Conditions``.

Checked are its version, the permissions of Spool's user, its eviction policy and its persistence.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib import resources

from spool.conditions import Conditions
from spool.errors import StoreForbidden, StoreFull, StoreRefusesWrites, StoreUnavailable, StoreUnfit
from spool.keys import HOME, prefix
from spool.redis.link import RedisLink
from spool.redis.script import Script

OLDEST = (7, 0)
"""Script flags (``#!lua flags=allow-oom``) came with Redis 7.0."""
NO_WORKER_S = 10.0
"""Seconds without a live worker before it is reported: workers start after the webs, and are replaced one by one."""

CHECK = Script.of("check", (resources.files("spool.redis") / "check.lua").read_text(encoding="utf-8"))
"""The script that checks which commands Spool's user may run. It is not one of the job scripts."""
_NO_FILE = "the Redis server has no append-only file: its restart loses jobs and their logs; set appendonly yes"
_NOT_WRITTEN = "the Redis server cannot write its files: see its log and its disk"
_NO_WORKER = "no live worker: jobs are accepted and wait; start `spool worker`"


def read_info(link: RedisLink, section: str) -> dict[str, str]:
    """A section of INFO as a mapping. Raises ``StoreUnavailable``."""
    lines = link.call("INFO", section).decode().splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)


def used_part(memory: Mapping[str, str]) -> float:
    """The used fraction of maxmemory; 0 without a limit."""
    limit = int(memory.get("maxmemory", 0))
    return int(memory.get("used_memory", 0)) / limit if limit else 0.0


def check_server(server: Mapping[str, str], memory: Mapping[str, str]) -> str | None:
    """Check ``INFO server`` and ``INFO memory``. Returns a warning if ended logs may be lost early, else None.

    Raises ``StoreUnfit`` for a server that must not be used: it is too old for the scripts, or with full memory it
    evicts keys of jobs that have not ended. Valkey reports itself as Redis 7.2 here.
    """
    version = server.get("redis_version", "")
    numbers = tuple(int(part) if part.isdigit() else 0 for part in version.split(".")[:2])
    if numbers < OLDEST:
        raise StoreUnfit(f"the Redis version is {version or 'unknown'}; Spool needs 7.0 or newer, or Valkey")
    policy, limit = memory.get("maxmemory_policy", "noeviction"), int(memory.get("maxmemory", 0))
    if policy.startswith("allkeys-") and limit:
        raise StoreUnfit(f"the Redis server evicts jobs (maxmemory-policy {policy}); Spool needs noeviction")
    if policy != "noeviction":
        return f"maxmemory-policy {policy} may evict jobs before they expire; Spool needs noeviction"
    return None


def check_persistence(persistence: Mapping[str, str]) -> dict[str, str | None]:
    """The persistence conditions from ``INFO persistence``; None for each that does not hold."""
    failing = [
        name
        for name in ("aof_last_write_status", "aof_last_bgrewrite_status", "rdb_last_bgsave_status")
        if persistence.get(name, "ok") != "ok"
    ]
    off = persistence.get("aof_enabled", "1") != "1"
    return {
        "persistence_off": _NO_FILE if off else None,
        "persistence_failing": f"{_NOT_WRITTEN} ({', '.join(failing)})" if failing else None,
    }


class FitnessCheck:
    """Sets the conditions of one process that concern Redis; ``look`` runs periodically.

    ``watermark`` is the fraction of maxmemory above which no job is accepted. With ``counts_workers``, a lack of live
    workers is a condition too. ``shards`` is the number of shards that this process uses. The first process writes it
    to Redis, and one with another number finds the server unfit: it would look for jobs where they are not.
    """

    def __init__(
        self,
        link: RedisLink,
        conditions: Conditions,
        *,
        watermark: float | None = None,
        counts_workers: bool = False,
        shards: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._link = link
        self._conditions = conditions
        self._watermark = watermark
        self._counts_workers = counts_workers
        self._shards = shards
        self._clock = clock
        self._worker_at = clock()
        self._was_answered = False

    @property
    def is_fit(self) -> bool:
        """Whether the last answered check found a usable server."""
        unfit = map(self._conditions.message, ("redis_unfit", "permission_missing"))
        return self._was_answered and not any(unfit)

    def look(self) -> None:
        """Check once. While Redis is unreachable, the other conditions keep their last state."""
        try:
            try:
                if self._may_run_scripts():
                    self._look_at_server()
            except StoreRefusesWrites as exc:
                self._look_at_persistence(str(exc))
            self._conditions.set("redis_away", None)
            self._was_answered = True
        except StoreUnavailable as exc:
            self._conditions.set("redis_away", f"no usable answer from Redis: {exc}")

    def _may_run_scripts(self) -> bool:
        """Whether the user has all permissions; if not, the condition names the missing ones."""
        try:
            live, *refused = self._link.run(CHECK, HOME)
        except StoreForbidden as exc:
            self._conditions.set(
                "permission_missing", f"the Redis user may not run Spool's scripts on the keys spool:*: {exc}"
            )
            return False
        names = ", ".join(sorted({name.decode() for name in refused}))
        self._conditions.set(
            "permission_missing",
            f"the Redis user lacks {names} on spool:* (keys and channels): see docs/operations.md for its ACL"
            if names
            else None,
        )
        if self._counts_workers:
            self._count(int(live))
        return not names

    def _check_shards(self) -> str | None:
        """The message for a server whose jobs lie in another number of shards than this process uses; else None."""
        key = f"{prefix(HOME)}shards"
        stored = self._link.call("GET", key)
        if stored is None:
            # A server without memory gets it at a later check: its jobs must still run.
            with suppress(StoreFull):
                self._link.call("SET", key, self._shards, "NX")
            stored = self._link.call("GET", key)
        if stored in (None, b"%d" % self._shards):
            return None
        number = stored.decode(errors="replace")
        return (
            f"the jobs in Redis lie in {number} shards (key {key}), and this process uses {self._shards}: "
            "start all processes with the same number, which cannot be changed while there are jobs"
        )

    def _count(self, live: int) -> None:
        if live:
            self._worker_at = self._clock()
        silent_s = self._clock() - self._worker_at
        self._conditions.set("no_live_worker", _NO_WORKER if silent_s >= NO_WORKER_S else None)

    def _look_at_server(self) -> None:
        server, memory, persistence = (read_info(self._link, name) for name in ("server", "memory", "persistence"))
        unfit, warning = self._check_shards(), None
        try:
            warning = check_server(server, memory)
        except StoreUnfit as exc:
            unfit = str(exc)
        self._conditions.set("redis_unfit", unfit)
        self._conditions.set("eviction_possible", warning)
        self._set_all(check_persistence(persistence))
        if self._watermark is not None:
            used = used_part(memory)
            self._conditions.set(
                "memory_over_watermark",
                f"Redis uses more than {self._watermark:.0%} of its maxmemory: accepted jobs still run, but new ones "
                "are refused until others expire; raise maxmemory, or lower SPOOL_JOB_TTL_S"
                if used >= self._watermark
                else None,
            )

    def _look_at_persistence(self, refusal: str) -> None:
        """Set the conditions of a server that answers and refuses writes. It may also lack replicas."""
        found = check_persistence(read_info(self._link, "persistence"))
        found["persistence_failing"] = found["persistence_failing"] or f"the Redis server refuses writes: {refusal}"
        self._set_all(found)

    def _set_all(self, messages: Mapping[str, str | None]) -> None:
        for name, message in messages.items():
            self._conditions.set(name, message)
