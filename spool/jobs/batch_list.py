"""The list of an owner's batches, newest first, page by page, over all shards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from spool.jobs.scripts import arguments, script
from spool.jobs.shards import Shard, Shards
from spool.redis.errors import unless_refused

_PAGE = 50
"""Batches that one call reads. Redis does nothing else during the call."""


@dataclass(frozen=True, slots=True)
class BatchPage:
    """Some batches of an owner by their ids, with their records, newest first. ``cursor`` is the start of the next
    page, None at the end; ``cursors`` are the starts of the lists behind each batch."""

    batches: Mapping[str, Mapping[str, str]]
    cursor: str | None
    cursors: Mapping[str, str] = field(default_factory=dict)


def cursor_before(created_ms: int, shards: int) -> str:
    """The cursor of the batches created before this time."""
    return str(created_ms * 1000 * shards + shards - 1)


def created_ms_of(cursor: str, shards: int) -> int:
    """The time of the batch that a cursor follows."""
    return int(cursor) // shards // 1000


def newest_batches(shards: Shards, owner: str, *, limit: int, cursor: str | None) -> BatchPage:
    """At most ``limit`` complete batches; a page may have fewer and still have a ``cursor``. Raises
    ``StoreUnavailable``."""
    count, found, limit = len(shards), list[tuple[int, int, str, dict[str, str]]](), min(limit, _PAGE)
    before, last = divmod(int(cursor), count) if cursor else (0, 0)
    is_more = False
    for shard in shards:
        highest = f"{'(' if shard.number <= last else ''}{before}" if cursor else "+inf"
        listed, rows = _listed(shard, owner, highest, limit)
        is_more = is_more or listed == limit
        found += [(-int(float(score)), shard.number, batch_id.decode(), _record(raw)) for score, batch_id, raw in rows]
    found.sort(key=lambda row: row[:2])
    is_more = is_more or len(found) > limit
    page = found[:limit]
    cursors = {batch_id: str(-score * count + number) for score, number, batch_id, _record in page}
    following = cursors[page[-1][2]] if page and is_more else None
    return BatchPage({batch_id: record for _score, _number, batch_id, record in page}, following, cursors)


def _listed(shard: Shard, owner: str, highest: str, most: int) -> tuple[int, Sequence[Any]]:
    """The length of a page of the shard's list, and its rows. Batches that have expired leave the list."""
    args = arguments("list_batches", owner=owner, highest=highest, most=most)
    # 0: a key of another type is in the list's place.
    reply = shard.run(script("list_batches"), *args)
    listed, rows, expired = reply or (0, (), ())
    if expired or not reply:
        with unless_refused():
            shard.run(script("tidy_batches"), *arguments("tidy_batches", expired, owner=owner))
    return listed, rows


def _record(raw: list[Any]) -> dict[str, str]:
    return {raw[n].decode(errors="replace"): raw[n + 1].decode(errors="replace") for n in range(0, len(raw), 2)}
