"""Shards: the parts that the keys of jobs are divided into. The keys of a shard are on one Redis server.

A job's id names its shard, and so does a batch's id. A new job's shard follows from its owner and a key that later
requests must find it by; without such a key, shards take turns. docs/design.md, "Shards", says what spans shards.
"""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self
from zlib import crc32

from spool.errors import BatchNotFound, JobNotFound
from spool.ids import new_batch_id, new_job_id, shard_of
from spool.jobs.job import NewJob
from spool.keys import prefix
from spool.redis.link import RedisLink
from spool.redis.pool import Command
from spool.redis.script import Script


@dataclass(frozen=True, slots=True)
class Shard:
    """One shard: its number, and the link to the server of its keys."""

    number: int
    link: RedisLink

    def key(self, name: str) -> str:
        """The key ``name`` of this shard (see ``spool.keys``)."""
        return f"{prefix(self.number)}{name}"

    def run(self, script: Script, *args: Any) -> Any:
        """Run one script on this shard's keys; see ``RedisLink.run``."""
        return self.link.run(script, self.number, *args)

    def run_many(self, script: Script, calls: Sequence[Command]) -> list[Any]:
        """Run a script several times in one round trip; see ``RedisLink.run_many``."""
        return self.link.run_many(script, self.number, calls)

    def run_each(self, script: Script, calls: Sequence[Command]) -> list[Any]:
        """Like ``run_many``, with errors in place of replies; see ``RedisLink.run_each``."""
        return self.link.run_each(script, self.number, calls)


class Shards:
    """The shards of an installation, by number. ``first`` has the first turn; by default it is random, because each of
    many processes begins with its own."""

    def __init__(self, shards: Sequence[Shard], first: int | None = None) -> None:
        self._shards = tuple(shards)
        self._turns = itertools.count(secrets.randbelow(len(self._shards)) if first is None else first)

    @classmethod
    def on(cls, link: RedisLink, count: int = 1, first: int | None = None) -> Self:
        """``count`` shards on one server."""
        return cls([Shard(number, link) for number in range(count)], first)

    def __iter__(self) -> Iterator[Shard]:
        return iter(self._shards)

    def __len__(self) -> int:
        return len(self._shards)

    def of_job(self, job_id: str) -> Shard:
        """The shard of a job. Raises ``JobNotFound`` for an id that this installation never gave out."""
        shard = self._named_by(job_id)
        if shard is None or job_id[0] != "j":
            raise JobNotFound(job_id)
        return shard

    def of_batch(self, batch_id: str) -> Shard:
        """The shard of a batch, and of all its jobs. Raises ``BatchNotFound``."""
        shard = self._named_by(batch_id)
        if shard is None or batch_id[0] != "b":
            raise BatchNotFound(batch_id)
        return shard

    def of_key(self, owner: str, key: str) -> Shard:
        """The shard of what this owner's requests must find by ``key``: always the same one."""
        return self._shards[crc32(f"{owner}:{key}".encode()) % len(self._shards)]

    def by_shard(self, job_ids: Iterable[str]) -> dict[Shard, list[str]]:
        """The jobs of each shard, in the given order. Ids that this installation never gave out are left out."""
        found: dict[Shard, list[str]] = {}
        for job_id in job_ids:
            shard = self._named_by(job_id)
            if shard is not None and job_id[0] == "j":
                found.setdefault(shard, []).append(job_id)
        return found

    def in_turn(self) -> Sequence[Shard]:
        """All shards; each call begins with the next one."""
        if len(self._shards) == 1:
            return self._shards
        at = next(self._turns) % len(self._shards)
        return self._shards[at:] + self._shards[:at]

    def place(self, new: NewJob) -> NewJob:
        """The job with a new id, on the shard of its batch; or that of its conversation, its Idempotency-Key, its chat,
        or its first block, which it shares; or that of the requests that repeat it; or else on the next shard."""
        if new.batch:
            shard = self.of_batch(new.batch)
        else:
            blocks, conversation = new.divided.blocks, new.scheduling.conversation
            turns = f"conversation {conversation.id}" if conversation else ""
            key = turns or new.idempotency_key or new.chat or (blocks[0].digest if blocks else "")
            key = key or (new.repeat.key if new.repeat else "")
            shard = self._for_key(new.owner, key)
        return replace(new, id=new_job_id(shard.number))

    def place_batch(self, owner: str, idempotency_key: str) -> str:
        """A new batch id, on the shard of the key (a digest), or without one on the next shard."""
        return new_batch_id(self._for_key(owner, idempotency_key).number)

    def part(self, limit: int) -> int:
        """One shard's part of a limit, rounded up; 0 (no limit) stays 0."""
        return -(-limit // len(self._shards))

    def _for_key(self, owner: str, key: str) -> Shard:
        return self.of_key(owner, key) if key else self.in_turn()[0]

    def _named_by(self, identifier: str) -> Shard | None:
        try:
            number = shard_of(identifier)
        except ValueError:
            return None
        return self._shards[number] if number < len(self._shards) else None
