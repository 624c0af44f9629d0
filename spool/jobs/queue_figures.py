"""Figures of each model's queue for metrics: how many jobs wait and run, and how old the oldest one is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from spool.jobs.job import Priority
from spool.jobs.shards import Shard
from spool.keys import job as job_key
from spool.redis.pool import Command

_MODELS_AT_MOST = 200
_RANK = 10**15
_PLACES = {Priority.INTERACTIVE: ("-inf", f"({2 * _RANK}"), Priority.BATCH: (str(2 * _RANK), "+inf")}
"""The scores of the waiting jobs of each class. Jobs that ran before count as interactive."""


@dataclass(frozen=True, slots=True)
class QueueFigures:
    """The queue of a model on one shard. ``oldest`` has for each class the id and the age, in seconds, of the job that
    waits longest."""

    model: str
    waiting: int
    running: int
    oldest: dict[Priority, tuple[str, float]]


def read_figures(shard: Shard) -> list[QueueFigures]:
    """The figures of the models that have jobs, in three round trips. Raises ``StoreUnavailable``."""
    names = sorted(shard.link.call("SMEMBERS", shard.key("models")))[:_MODELS_AT_MOST]
    models = [name.decode() for name in names]
    commands: list[Command] = [command for model in models for command in _commands(shard, model)]
    if not commands:
        return []
    replies = [_or_nothing(reply) for reply in shard.link.pipeline_each([("TIME",), *commands])]
    (seconds, micros), *_ = replies
    now_s, found = int(seconds) + int(micros) / 1_000_000, list(zip(models, _grouped(replies[1:]), strict=True))
    first = [ids[0].decode() for _model, (_waiting, _running, *places) in found for ids in places if ids]
    born = _born(shard, first)
    return [
        QueueFigures(
            model,
            waiting or 0,
            running or 0,
            {
                priority: (ids[0].decode(), max(0.0, now_s - born.get(ids[0].decode(), now_s)))
                for priority, ids in zip(_PLACES, places, strict=True)
                if ids
            },
        )
        for model, (waiting, running, *places) in found
    ]


def _commands(shard: Shard, model: str) -> Iterable[Command]:
    pending = shard.key(f"pending:{model}")
    yield ("ZCARD", pending)
    yield ("ZCARD", shard.key(f"running:{model}"))
    for low, high in _PLACES.values():
        yield ("ZRANGEBYSCORE", pending, low, high, "LIMIT", 0, 1)


def _grouped(replies: list[Any]) -> Iterable[tuple[Any, ...]]:
    size = 2 + len(_PLACES)
    return (tuple(replies[at : at + size]) for at in range(0, len(replies), size))


def _born(shard: Shard, job_ids: list[str]) -> dict[str, float]:
    """Since when each of these jobs may begin, in seconds since the epoch."""
    if not job_ids:
        return {}
    commands: list[Command] = [("HMGET", job_key(job_id), "created_ms", "not_before_ms") for job_id in job_ids]
    replies = map(_or_nothing, shard.link.pipeline_each(commands))
    return {
        job_id: max(int(value) for value in values if value and value.isdigit()) / 1000
        for job_id, values in zip(job_ids, replies, strict=True)
        if values and any(value and value.isdigit() for value in values)
    }


def _or_nothing(reply: Any) -> Any:
    """The reply; None for an error: a key of another type, which the keeper moves away."""
    return None if isinstance(reply, Exception) else reply
