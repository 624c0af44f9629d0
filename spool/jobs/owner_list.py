"""The list of an owner's jobs, newest first, page by page, over all shards."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from spool.jobs.job import Job, Status
from spool.jobs.scripts import arguments, script
from spool.jobs.shards import Shard, Shards
from spool.redis.errors import translated, unless_refused
from spool.redis.pool import Command

_PAGE = 100
_SELECTED = 200
"""Jobs of a page from which a filter selects, in one call. Redis does nothing else during the call."""
_SELECTED_BY_METADATA = 40
"""The same for a filter by metadata, of which a job may have 9 KB."""
_LOOKED_AT = 10
"""Jobs that are read at least, in one round trip."""
_EXAMINED_AT_MOST = 2000
_SCORE_AT_MOST = 9e15
"""Near the largest whole number that a score keeps exactly; a job's score is its creation in microseconds."""


@dataclass(frozen=True, slots=True)
class JobPage:
    """Some jobs of an owner, newest first. ``cursor`` is the start of the next page, None at the end."""

    jobs: list[Job]
    cursor: str | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which jobs a list shows: those of this status, batch and model, and with this metadata, where they are given.
    ``metadata`` is a name, or a name and its value."""

    status: Status | None = None
    batch: str | None = None
    model: str | None = None
    metadata: tuple[str] | tuple[str, str] | None = None

    @property
    def is_all(self) -> bool:
        """Whether every job matches."""
        return self == Wanted()

    @property
    def metadata_text(self) -> str:
        """The metadata as a piece of the JSON text in a record, as ``orjson`` writes it; empty: none is wanted."""
        if self.metadata is None:
            return ""
        name, *value = (orjson.dumps(text).decode() for text in self.metadata)
        return f"{name}:{''.join(value)}"

    def matches(self, job: Job) -> bool:
        """Whether the list shows this job."""
        return (
            self.status in (None, job.status)
            and self.batch in (None, job.batch)
            and self.model in (None, job.model)
            and (self.metadata is None or self._has_metadata(*self.metadata, found=job.metadata))
        )

    @staticmethod
    def _has_metadata(name: str, *value: str, found: Mapping[str, Any]) -> bool:
        return name in found and (not value or found[name] == value[0])


def newest(
    shards: Shards,
    look_many: Callable[[Sequence[str], str], list[Job]],
    owner: str,
    wanted: Wanted,
    *,
    limit: int,
    cursor: str | None,
) -> JobPage:
    """The owner's jobs, newest first. A page examines a bounded number of jobs."""
    found: list[Job] = []
    count, examined = _page_size(wanted), 0
    while examined < _EXAMINED_AT_MOST:
        page = _owned(shards, owner, cursor, count)
        is_last = len(page) < count
        candidates = _candidates(shards, [job_id for job_id, _ in page], wanted)
        ids = candidates[: max(limit - len(found), _LOOKED_AT)]
        if len(ids) < len(candidates):
            # Nearly all candidates match, so the page ends with the last one that is needed.
            page, is_last = page[: [job_id for job_id, _ in page].index(ids[-1]) + 1], False
        examined += len(page)
        jobs = {job.id: job for job in look_many(ids, owner)}
        for job_id, cursor in page:
            job = jobs.get(job_id)
            if job is not None and wanted.matches(job):
                found.append(job)
                if len(found) == limit:
                    return JobPage(found, cursor)
        if is_last:
            return JobPage(found, None)
    return JobPage(found, cursor)


def _page_size(wanted: Wanted) -> int:
    if wanted.is_all:
        return _PAGE
    return _SELECTED if wanted.metadata is None else _SELECTED_BY_METADATA


def _candidates(shards: Shards, job_ids: Sequence[str], wanted: Wanted) -> Sequence[str]:
    """The jobs that may match. Most jobs of a filtered list do not, and a few fields cost a fraction of a look."""
    if wanted.is_all:
        return job_ids
    found: set[str] = set()
    for shard, its_ids in shards.by_shard(job_ids).items():
        args = arguments(
            "select",
            its_ids,
            status=wanted.status or "",
            batch=wanted.batch or "",
            model=wanted.model or "",
            metadata=wanted.metadata_text,
        )
        found.update(raw.decode() for raw in shard.run(script("select"), *args))
    return [job_id for job_id in job_ids if job_id in found]


def _owned(shards: Shards, owner: str, cursor: str | None, count: int) -> list[tuple[str, str]]:
    """A page of the owner's jobs from all shards, each with the cursor behind it. Jobs are in the order of their
    scores, and those with the same score in the order of their shards."""
    shard_count, rows = len(shards), []
    before, last = divmod(int(cursor), shard_count) if cursor else (0, 0)
    for shard in shards:
        highest = f"{'(' if shard.number <= last else ''}{before}" if cursor else "+inf"
        key = shard.key(f"owner:{owner}")
        (reply,) = read(shard, [("ZREVRANGEBYSCORE", key, highest, "-inf", "WITHSCORES", "LIMIT", 0, count)])
        if reply is None:
            # The key has another type. The script moves it away, and the keeper rebuilds the list.
            with unless_refused():
                shard.run(script("end_damaged"), "", owner, "")
            continue
        pairs = zip(reply[::2], reply[1::2], strict=True)
        rows += [(-_bounded(score), shard.number, job_id.decode(errors="replace")) for job_id, score in pairs]
    # A stable sort, because one shard's jobs are in order already.
    rows.sort(key=lambda row: row[:2])
    return [(job_id, str(-score * shard_count + number)) for score, number, job_id in rows[:count]]


def read(shard: Shard, commands: Sequence[Command]) -> list[Any]:
    """The replies of the shard's server, with None for a key of the wrong type."""
    replies = shard.link.pipeline_each(commands)
    for reply in replies:
        if isinstance(reply, Exception) and not str(reply).startswith("WRONGTYPE"):
            raise translated(reply) from reply
    return [None if isinstance(reply, Exception) else reply for reply in replies]


def _bounded(score: bytes) -> int:
    return int(max(0.0, min(float(score), _SCORE_AT_MOST)))
