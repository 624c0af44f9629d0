"""The worker's side of jobs in Redis: claim, heartbeat, hand back. Each under the claim's fence."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from spool.errors import UndecodableRecord
from spool.jobs import Job
from spool.models import Model
from spool.redis_link import RedisLink
from spool.scripting import script


@dataclass(frozen=True, slots=True)
class Claim:
    """A worker's time-limited right to one attempt at one job.

    ``first`` is the id of the next entry to append. ``prefix`` is the text to continue from, empty for an attempt
    that begins anew. ``left_s`` is how long the job had until its deadline at the moment of the claim.
    """

    job: Job
    shard: int
    fence: str
    input: Mapping[str, Any]
    prefix: str
    first: int
    left_s: float


def new_fence() -> str:
    """A fresh random fence."""
    return secrets.token_hex(8)


class Claims:
    """Claims of one worker process on one shard."""

    def __init__(self, link: RedisLink, *, shard: int, worker: str, lease_s: float, max_attempts: int) -> None:
        self._link = link
        self._shard = shard
        self._worker = worker
        self._lease_ms = round(lease_s * 1000)
        self._max_attempts = max_attempts

    def claim(self, models: Sequence[Model], fence: str) -> Claim | None:
        """The next job for these models under this fence, or None. Asking again with the same fence after a lost
        answer gives the same job."""
        limits = [value for model in models for value in (model.name, model.max_running)]
        reply = self._link.run(script("claim"), self._shard, fence, self._lease_ms, self._worker, *limits)
        return None if reply is None else read_claim(reply, self._shard, fence)

    def heartbeat(self, held: Sequence[tuple[str, str]], *, free: int) -> list[str]:
        """Renew the leases of ``held`` (job id, fence) and say how many slots are free (-1: going away).
        Answers for each: ``ok``, ``cancelled``, ``lost`` or ``error``."""
        flat = [value for pair in held for value in pair]
        reply = self._link.run(script("heartbeat"), self._shard, self._lease_ms, self._worker, free, *flat)
        return [answer.decode() for answer in reply]

    def hand_back(
        self, job_id: str, fence: str, *, counts: bool, reason: str = "handed_back", message: str = "given up"
    ) -> str:
        """Give the job up, so that another worker takes it. Answers ``queued``, ``failed``, ``cancelled`` or
        ``lost``. With ``counts`` it costs the job one of its attempts. ``reason`` is a word for the log, ``message``
        says what happened."""
        args = (job_id, fence, int(counts), self._max_attempts, reason, message)
        answer: bytes = self._link.run(script("hand_back"), self._shard, *args)
        return answer.decode()


def read_claim(reply: list[Any], shard: int, fence: str) -> Claim:
    """What ``claim.lua`` answered."""
    _id, _mode, text, stored, now_ms, *record = reply
    job = Job.decode(record)
    try:
        prompt = orjson.loads(stored)
    except orjson.JSONDecodeError as exc:
        raise UndecodableRecord(f"input of {job.id}", stored) from exc
    return Claim(
        job=job,
        shard=shard,
        fence=fence,
        input=prompt,
        prefix=text.decode(),
        first=job.last_entry + 1,
        left_s=max(0.0, job.deadline_at - now_ms / 1000),
    )
