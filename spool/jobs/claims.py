"""The worker's side of jobs in Redis: claim, heartbeat, hand back. Each under the claim's fence."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from spool.errors import UndecodableRecord
from spool.jobs.conversation import read_input
from spool.jobs.entries import kind_of
from spool.jobs.job import Job
from spool.jobs.scripts import script
from spool.models.model import Model
from spool.redis.link import RedisLink


@dataclass(frozen=True, slots=True)
class Claim:
    """A worker's time-limited right to one attempt at one job.

    ``opening`` is the attempt's first entry, which the claim has written, and ``first`` the id of the next one.
    ``prefix`` is the text to continue from, empty for an attempt that begins anew. ``left_s`` is how long the job had
    until its deadline at the moment of the claim.
    """

    job: Job
    shard: int
    fence: str
    input: Mapping[str, Any]
    prefix: str
    opening: bytes
    first: int
    left_s: float


_CALLS_AT_MOST = 1000
"""Calls of one claim: each clears away up to 25 jobs that cannot be begun."""
_HELD_AT_ONCE = 50
"""Jobs in one call: Redis does nothing else meanwhile, and their tokens wait."""

Wanted = Literal["any", "retries", "apart"]
"""Which jobs a claim may get: ``retries`` for a worker whose slots are all taken, ``apart`` for a process that runs one
job alone."""


SENT_UNKNOWN = 2**53
"""What ``Held.sent`` is for an attempt that was given up: others may have gone on with its job, and been read, up to an
id that its worker does not know. Beyond every id, so that no log is taken for whole on this worker's word."""


@dataclass(frozen=True, slots=True)
class Held:
    """A job that a worker says it has: under which fence, up to which entry Redis has confirmed its log, and up to
    which it was ever sent."""

    job_id: str
    fence: str
    acked: int
    sent: int = 0


@dataclass(frozen=True, slots=True)
class Beat:
    """What a heartbeat learned: which run of the Redis server answered, how many jobs wait for a process of their own,
    and for each job that was held ``b"whole"`` (its log is known to be, on the run that the worker has met), ``b"ok"``,
    ``b"cancelled"``, ``b"lost"``, ``b"unclaimed"`` (Redis lost the claim), ``b"error"``, or the last id of a log that
    lost entries."""

    server: str
    apart: int
    answers: list[bytes | int]


def new_fence() -> str:
    """A fresh random fence."""
    return secrets.token_hex(8)


class Claims:
    """Claims of one worker process on one shard."""

    def __init__(
        self, link: RedisLink, *, shard: int, worker: str, lease_s: float, max_attempts: int, slots: int = 0
    ) -> None:
        """``slots``: how many jobs the worker runs at a time, as far as limits of owners are parts of that."""
        self._link = link
        self._shard = shard
        self._worker = worker
        self._lease_ms = round(lease_s * 1000)
        self.max_attempts = max_attempts
        self._slots = slots

    def claim(self, models: Sequence[Model], fence: str, wanted: Wanted = "any") -> Claim | None:
        """The next job for these models under this fence, or None. Asking again with the same fence after a lost
        answer gives the same job. Raises ``UndecodableRecord`` for a job that cannot be read: it has ended, and the
        next claim needs another fence."""
        limits = [value for model in models for value in (model.name, model.max_running)]
        args = (fence, self._lease_ms, self._worker, wanted, *limits)
        for _ in range(_CALLS_AT_MOST):
            reply = self._link.run(script("claim"), self._shard, *args)
            if isinstance(reply, int):
                # It has cleared away as much as one call may.
                continue
            if reply is None:
                return None
            try:
                return read_claim(reply, self._shard, fence)
            except UndecodableRecord as exc:
                self._link.run(script("end_damaged"), self._shard, reply[0], "", exc.reason)
                raise
        return None

    def adopt(self, claim: Claim) -> int | bytes:
        """Take the job again after Redis lost the claim. Answers the log's last id; or ``b"lost"`` if somebody else
        has it, or ``b"cancelled"``."""
        mode = kind_of(claim.opening)
        args = (self._lease_ms, self._worker, claim.job.attempt, mode, claim.first - 1, claim.opening)
        answer: int | bytes = self._link.run(script("adopt"), self._shard, claim.job.id, claim.fence, *args)
        return answer

    def disown(self, claim: Claim) -> None:
        """Say that Redis has lost an attempt that was given up, whatever it still knows of the job."""
        self._link.run(script("disown"), self._shard, claim.job.id, claim.job.attempt)

    def heartbeat(self, held: Sequence[Held], *, free: int, server: str) -> Beat:
        """Renew the leases of ``held`` and say how many slots are free (-1: going away). ``server`` is the run of
        Redis that the last beat met: where it is the same, and nothing is unclaimed, this worker has been heard."""
        answers: list[bytes | int] = []
        settled = True
        for at in range(0, max(1, len(held)), _HELD_AT_ONCE):
            some_held = held[at : at + _HELD_AT_ONCE]
            flat = [value for one in some_held for value in (one.job_id, one.fence, one.acked, one.sent)]
            # That it has been heard is said with the last of them, if it holds for all.
            is_heard = settled and at + _HELD_AT_ONCE >= len(held)
            args = (self._lease_ms, self._worker, free, server, int(is_heard), self._slots, *flat)
            run_id, apart, *some = self._link.run(script("heartbeat"), self._shard, *args)
            settled = settled and run_id.decode() == server and b"unclaimed" not in some
            answers += some
        return Beat(run_id.decode(), apart, answers)

    def hand_back(
        self,
        job_id: str,
        fence: str,
        *,
        counts: bool,
        anew: bool = False,
        reason: str = "handed_back",
        message: str = "given up",
    ) -> str:
        """Give the job up, so that another worker takes it. Answers ``queued``, ``failed``, ``cancelled`` or
        ``lost``. With ``counts`` it costs the job one of its attempts; with ``anew`` the next one does not go on from
        the text so far. ``reason`` is a word for the log, ``message`` says what happened."""
        args = (job_id, fence, int(counts), self.max_attempts, reason, message, int(anew))
        answer: bytes = self._link.run(script("hand_back"), self._shard, *args)
        return answer.decode()


def read_claim(reply: list[Any], shard: int, fence: str) -> Claim:
    """What ``claim.lua`` answered."""
    _id, text, stored, now_ms, opening, values = reply
    job = Job.decode(values)
    stored, *blocks = stored if isinstance(stored, list) else [stored]
    try:
        prompt = read_input(stored, lambda: blocks)
        prefix = text.decode()
        kind_of(opening)
    except (ValueError, TypeError) as exc:
        raise UndecodableRecord(f"input, text or log of {job.id}", stored) from exc
    return Claim(
        job=job,
        shard=shard,
        fence=fence,
        input=prompt,
        prefix=prefix,
        opening=opening,
        first=job.last_entry + 1,
        left_s=max(0.0, job.deadline_at - now_ms / 1000),
    )
