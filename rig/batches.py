"""Batches by hand: created, fed and looked at through the real scripts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from rig.by_hand import OWNER, new_job, shards_of, store_of
from spool.batches.batch import BatchOptions
from spool.batches.feeder import Feeder
from spool.batches.line import BadLine, Line
from spool.batches.pieces import Added, Piece, Pieces
from spool.batches.store import Batches, NewBatch
from spool.ids import new_batch_id
from spool.jobs.job import NewJob
from spool.jobs.owner_limits import NO_LIMITS, OwnerLimits
from spool.jobs.repeats import Repeat
from spool.redis.link import RedisLink


def lines_of(count: int, **fields: Any) -> list[Line | BadLine]:
    """So many lines of the demo, each with a ``custom_id``."""
    return [Line(n, new_line(n, **fields), f"c{n}") for n in range(count)]


def new_line(index: int, **fields: Any) -> NewJob:
    """The job of a line."""
    return new_job(**{"id": "", "batch_index": index, "custom_id": f"c{index}", **fields})


def create(
    link: RedisLink,
    lines: Sequence[Line | BadLine] | int,
    *,
    options: BatchOptions | None = None,
    key: str = "",
    digest: str = "",
    batch_id: str = "",
    repeat: Repeat | None = None,
    most: int = 1_000_000,
    limits: OwnerLimits = NO_LIMITS,
) -> str:
    """Create a batch of these lines, or of so many; its id."""
    new = NewBatch(batch_id or new_batch_id(0), OWNER, options or BatchOptions(), key, repeat)
    with Batches(shards_of(link)).staging(new) as staging:
        for line in lines_of(lines) if isinstance(lines, int) else lines:
            staging.add(line)
        return staging.create(digest, max_queued=most, limits=limits)


def feeder_of(link: RedisLink) -> Feeder:
    """A feeder of the first shard, past the lock of others."""
    shard = next(iter(shards_of(link)))
    link.call("DEL", shard.key("feeder:lock"), shard.key("open-feeder:lock"))
    return Feeder(shard, store_of(link), lambda: None)


def feed(link: RedisLink) -> None:
    """One pass of the feeder."""
    feeder_of(link).beat(lambda _s: None)


def log_of_batch(link: RedisLink, batch_id: str) -> list[dict[str, Any]]:
    """All entries of a batch's log."""
    batches, found = Batches(shards_of(link)), list[dict[str, Any]]()
    while rows := batches.results(batch_id, found[-1]["id"] if found else 0, 500):
        found += [json.loads(raw) for _id, raw in rows]
    return found


def add(
    link: RedisLink,
    batch_id: str,
    first: int,
    lines: Sequence[Line | BadLine] | int,
    *,
    key: str = "",
    digest: str = "",
    owner: str = OWNER,
    most: int = 1_000_000,
    max_queued: int = 1_000_000,
    limits: OwnerLimits = NO_LIMITS,
) -> Added:
    """Add these lines, or so many, to an open batch that has ``first`` lines."""
    if isinstance(lines, int):
        lines = [Line(first + n, new_line(first + n), f"c{first + n}") for n in range(lines)]
    piece = Piece(batch_id, owner, first, lines, key, digest)
    return Pieces(shards_of(link)).add(piece, most=most, max_queued=max_queued, limits=limits)
