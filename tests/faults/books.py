"""The books of a shard: each record has its input and stands in the indexes that its state asks for, and nothing stands
in an index, or beside a record, whose record is missing. So a submit that was refused has left nothing half-written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.faults.checker import PREFIX
from tests.stack import Stack

_ENDED = ("succeeded", "failed", "cancelled")
_OVER = ("Unrecoverable", "is started again", '"unexpected error', "heartbeat broke")


def check_books(stack: Stack) -> list[str]:
    """What does not fit together, in words. Redis should be quiet, or what is read falls apart by itself."""
    link = stack.redis.link
    records: dict[str, dict[str, str]] = {}
    beside: dict[str, set[str]] = {}
    for key in _names(link, f"{PREFIX}job:*"):
        job, _, part = key.removeprefix(f"{PREFIX}job:").partition(":")
        if part:
            beside.setdefault(job, set()).add(part)
        else:
            raw = link.call("HGETALL", key)
            records[job] = {raw[n].decode(): raw[n + 1].decode() for n in range(0, len(raw), 2)}
    indexes = dict(_indexes(link))
    orphans = {job: parts - {"gone"} for job, parts in beside.items() if job not in records}
    found = [f"{job} has {sorted(parts)}, and no record" for job, parts in orphans.items() if parts]
    for index, members in indexes.items():
        found += [f"{job} is in {index}, and has no record" for job in sorted(members - records.keys())]
    for job, record in records.items():
        found += [f"{job}, {record.get('status')}: {wrong}" for wrong in _wrong(job, record, beside, indexes)]
    for key in _names(link, f"{PREFIX}idempotency:*"):
        job = link.call("GET", key).decode().partition(" ")[0]
        found += [] if job in records else [f"{key} leads to {job}, which has no record"]
    return found


def job_ids(stack: Stack) -> set[str]:
    """The jobs that have a record."""
    names = (key.removeprefix(f"{PREFIX}job:") for key in _names(stack.redis.link, f"{PREFIX}job:*"))
    return {name for name in names if ":" not in name}


def check_processes(stack: Stack) -> list[str]:
    """Which programs have ended, or say that something of them did, though it may have begun anew."""
    found = []
    for process in [*stack.webs, *stack.workers]:
        found += [] if process.running else [f"{process.name} has ended"]
        lines = process.output.read_text().splitlines()
        found += [f"{process.name}: {line[:1000]}" for line in lines if any(word in line for word in _OVER)]
    return found


def _wrong(
    job: str, record: dict[str, str], beside: dict[str, set[str]], indexes: dict[str, set[str]]
) -> Iterator[str]:
    model, status = record.get("model"), record.get("status")
    if not {"id", "owner", "model", "status", "seq", "deadline_ms", "priority", "metadata"} <= record.keys():
        yield f"has only {sorted(record)}"
    if "input" not in beside.get(job, ()):
        yield "has no input"
    stands = {index for index, members in indexes.items() if job in members and not index.startswith("owner:")}
    due = {"queued": {f"pending:{model}", "deadlines"}, "running": {f"running:{model}", "deadlines"}}
    if status not in (*due, *_ENDED):
        yield "no such state"
    elif stands - {"watched"} not in (due.get(status, set()), {"apart", "deadlines"} if status == "queued" else None):
        yield f"stands in {sorted(stands)}"
    if job not in indexes.get(f"owner:{record.get('owner')}", ()):
        yield "is not among its owner's"


def _indexes(link: Any) -> Iterator[tuple[str, set[str]]]:
    for pattern in ("pending:*", "running:*", "apart", "deadlines", "watched", "owner:*"):
        for key in _names(link, PREFIX + pattern):
            yield key.removeprefix(PREFIX), {raw.decode() for raw in link.call("ZRANGE", key, 0, -1)}


def _names(link: Any, pattern: str) -> list[str]:
    return sorted(raw.decode() for raw in link.call("KEYS", pattern.replace("{", "\\{").replace("}", "\\}")))
