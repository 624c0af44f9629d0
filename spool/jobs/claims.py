"""The worker's side of jobs in Redis: claim, heartbeat, hand-back, each under the claim's fence."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from spool.errors import UndecodableRecord
from spool.jobs.class_shares import BatchSlots, ClassShares
from spool.jobs.conversation import read_input
from spool.jobs.entries import kind_of
from spool.jobs.job import FIELDS, Job
from spool.jobs.owner_list import read
from spool.jobs.scripts import arguments, script
from spool.jobs.shards import Shard, Shards
from spool.models.model import Model


@dataclass(frozen=True, slots=True)
class Claim:
    """A worker's time-limited right to one attempt at one job.

    ``opening`` is the attempt's first entry; the claim has written it. ``first`` is the id of the next entry.
    ``prefix`` is the text to continue from, empty for an attempt that starts from scratch. ``left_s`` is the time from
    the claim to the job's deadline, in seconds. ``probe``: its model's upstream refused jobs, and this job is tried
    nevertheless; empty if the model was open. ``has_more``: other jobs may wait that no bell rings for again.
    """

    job: Job
    shard: int
    fence: str
    input: Mapping[str, Any]
    prefix: str
    opening: bytes
    first: int
    left_s: float
    probe: str = ""
    has_more: bool = True


_SHARES = ClassShares()
_FIELDS = tuple(name.encode() for name in FIELDS)
_CALLS_AT_MOST = 1000
"""Calls of one claim; each removes up to 25 jobs that cannot start."""
_HELD_AT_ONCE = 50
"""Jobs in one call. Redis does nothing else during the call, so tokens wait for it."""

_SCANNED_AT_ONCE = 100

Wanted = Literal["any", "retries", "apart"]
"""Which jobs a claim may get: ``retries`` for a worker without a free slot, ``apart`` (quarantined jobs) for a process
that runs a single job."""


SENT_UNKNOWN = 2**53
"""The value of ``Held.sent`` after a hand-back: others may have written, and readers seen, entries beyond what this
worker knows. It is larger than every id, so this worker's report never makes a log count as complete."""


@dataclass(frozen=True, slots=True)
class Held:
    """A job that a worker reports as its own, under ``fence``.

    ``acked`` is the last entry that Redis has confirmed, ``sent`` the last entry that was ever sent.
    """

    job_id: str
    fence: str
    acked: int
    sent: int = 0


@dataclass(frozen=True, slots=True)
class Beat:
    """The reply to a heartbeat.

    ``server`` is the run id of the Redis server; with several shards, that of each. ``apart`` is the number of
    quarantined jobs that wait. ``answers`` pairs each held job with its answer: ``b"whole"`` (its log is complete on
    the server run that the worker knows), ``b"ok"``, ``b"cancelled"``, ``b"lost"``, ``b"unclaimed"`` (Redis lost the
    claim), ``b"error"``, or the last id of a log that lost entries.
    """

    server: str
    apart: int
    answers: list[tuple[Held, bytes | int]]


def new_fence() -> str:
    """A new random fence."""
    return secrets.token_hex(8)


class Claims:
    """The claims of one worker process, on all shards."""

    def __init__(
        self,
        shards: Shards,
        *,
        worker: str,
        lease_s: float,
        max_attempts: int,
        slots: int = 0,
        shares: ClassShares = _SHARES,
        batch_slots: BatchSlots | None = None,
    ) -> None:
        """``slots``: how many jobs the worker runs at a time; owner limits that are shares are computed from it.
        ``batch_slots``: those that batch jobs use; without it they may use all."""
        self._shards = shards
        self._worker = worker
        self._lease_ms = round(lease_s * 1000)
        self.max_attempts = max_attempts
        self._slots = slots
        self._shares = shares
        self._batch_slots = batch_slots or BatchSlots()

    def in_turn(self) -> Sequence[Shard]:
        """The shards in the order in which the next claim should try them, so that none has to wait for another."""
        return self._shards.in_turn()

    def claim(self, shard: Shard, models: Sequence[Model], fence: str, wanted: Wanted = "any") -> Claim | None:
        """Claim the shard's next job for these models under this fence; None if there is none.

        Idempotent: after a lost answer, the same fence returns the same job. Raises ``UndecodableRecord`` for a job
        that cannot be read. That job has then ended, and the next claim needs another fence.
        """
        part = self._shards.part
        limits = [
            value
            for model in models
            for value in (model.name, part(model.max_running), part(model.rpm), part(model.tpm))
        ]
        args = arguments(
            "claim",
            limits,
            fence=fence,
            lease_ms=self._lease_ms,
            worker=self._worker,
            what=wanted,
            takes_batch=int(self._batch_slots.has_room),
            reserve=self._shares.reserve,
            batch_every=self._shares.batch_every,
        )
        self._batch_slots.claiming += 1
        try:
            return self._claim(shard, args, fence)
        finally:
            self._batch_slots.claiming -= 1

    def _claim(self, shard: Shard, args: list[object], fence: str) -> Claim | None:
        for _ in range(_CALLS_AT_MOST):
            reply = shard.run(script("claim"), *args)
            if isinstance(reply, int):
                # This call has removed, parked or taken over as many jobs as one call may.
                continue
            if reply is None:
                return None
            try:
                return read_claim(reply, shard.number, fence)
            except UndecodableRecord as exc:
                shard.run(script("end_damaged"), reply[0], "", exc.reason)
                raise
        return None

    def adopt(self, claim: Claim) -> int | bytes:
        """Reclaim the job after Redis lost the claim. Returns the log's last id, ``b"lost"`` if another worker has the
        job, or ``b"cancelled"``."""
        args = arguments(
            "adopt",
            id=claim.job.id,
            fence=claim.fence,
            lease_ms=self._lease_ms,
            worker=self._worker,
            attempt=claim.job.attempt,
            mode=kind_of(claim.opening),
            first=claim.first - 1,
            opening=claim.opening,
        )
        answer: int | bytes = self._shards.of_job(claim.job.id).run(script("adopt"), *args)
        return answer

    def disown(self, claim: Claim) -> None:
        """Report that Redis lost an attempt which this worker gave up, so that the job's next entry skips ahead."""
        self._shards.of_job(claim.job.id).run(script("disown"), claim.job.id, claim.job.attempt)

    def heartbeat(self, held: Sequence[Held], *, free: int, server: str) -> Beat:
        """Renew the leases of ``held`` and report the number of free slots (-1: shutting down).

        ``server`` is the run id of Redis at the last heartbeat. If it is unchanged and no job is unclaimed, this worker
        counts as confirmed.
        """
        runs = server.split()
        if len(runs) != len(self._shards):
            runs = [""] * len(self._shards)
        parts = [
            self._beat(shard, part, free, run)
            for shard, part, run in zip(self._shards, self._by_shard(held), runs, strict=True)
        ]
        return Beat(
            " ".join(part.server for part in parts),
            sum(part.apart for part in parts),
            [pair for part in parts for pair in part.answers],
        )

    def _by_shard(self, held: Sequence[Held]) -> list[Sequence[Held]]:
        if len(self._shards) == 1:
            return [held]
        return [[one for one in held if self._shards.of_job(one.job_id) is shard] for shard in self._shards]

    def _beat(self, shard: Shard, held: Sequence[Held], free: int, server: str) -> Beat:
        answers: list[tuple[Held, bytes | int]] = []
        is_settled = True
        for at in range(0, max(1, len(held)), _HELD_AT_ONCE):
            part = held[at : at + _HELD_AT_ONCE]
            flat = [value for job in part for value in (job.job_id, job.fence, job.acked, job.sent)]
            # Only the last call may confirm this worker, because the confirmation must hold for all its jobs.
            may_confirm = is_settled and at + _HELD_AT_ONCE >= len(held)
            args = arguments(
                "heartbeat",
                flat,
                lease_ms=self._lease_ms,
                worker=self._worker,
                free=free,
                known_run=server,
                is_last=int(may_confirm),
                slots=self._slots,
            )
            run_id, apart, *part_answers = shard.run(script("heartbeat"), *args)
            is_settled = is_settled and run_id.decode() == server and b"unclaimed" not in part_answers
            answers += zip(part, part_answers, strict=True)
        return Beat(run_id.decode(), apart, answers)

    def end_leases_of(self, worker: str) -> int:
        """End the leases of a worker whose process has died, so that the keeper takes over its jobs at its next beat.
        Returns how many. Raises ``StoreUnavailable``; then call it again."""
        return sum(self._end_leases_on(shard, worker) for shard in self._shards)

    def _end_leases_on(self, shard: Shard, worker: str) -> int:
        ended: int = shard.run(script("end_leases"), worker)
        (models,) = read(shard, [("SMEMBERS", shard.key("models"))])
        for model in models or []:
            for job_ids in _running(shard, model.decode()):
                ended += shard.run(script("end_leases"), worker, *job_ids)
        return ended

    @property
    def shards(self) -> Shards:
        """The shards that jobs are claimed from."""
        return self._shards

    def hand_back(
        self,
        job_id: str,
        fence: str,
        *,
        counts: bool,
        restarts: bool = False,
        reason: str = "handed_back",
        message: str = "given up",
        again_ms: int = 0,
        upstream: Mapping[str, Any] | None = None,
    ) -> str:
        """Hand the job back, so that another worker can claim it. Returns ``queued``, ``failed``, ``cancelled`` or
        ``lost``.

        ``counts``: this attempt counts against the job's limit. ``restarts``: the next attempt starts from scratch, and
        does not continue the partial answer. ``reason`` is one word for the log, ``message`` describes what happened.
        ``upstream``: what the upstream's error named, for the error of a job that fails now.
        """
        args = arguments(
            "hand_back",
            id=job_id,
            fence=fence,
            costs=int(counts),
            max_attempts=self.max_attempts,
            reason=reason,
            message=message,
            restarts=int(restarts),
            again_ms=again_ms,
            upstream=orjson.dumps(upstream) if upstream else b"",
        )
        answer: bytes = self._shards.of_job(job_id).run(script("hand_back"), *args)
        return answer.decode()


def _running(shard: Shard, model: str) -> Iterator[list[bytes]]:
    """The running jobs of a model, some at a time. A job may come twice."""
    cursor: bytes | None = b"0"
    while cursor is not None:
        (page,) = read(shard, [("ZSCAN", shard.key(f"running:{model}"), cursor, "COUNT", _SCANNED_AT_ONCE)])
        cursor, pairs = page or (b"0", [])
        if pairs:
            yield pairs[::2]
        if int(cursor) == 0:
            cursor = None


def _in_order(pairs: Sequence[bytes | int]) -> list[bytes | None]:
    """The values of ``FIELDS`` from a record's names and values in turn."""
    found = dict(zip(pairs[::2], pairs[1::2], strict=True))
    values = map(found.get, _FIELDS)
    return [b"%d" % value if isinstance(value, int) else value for value in values]


def read_claim(reply: list[Any], shard: int, fence: str) -> Claim:
    """Decode a reply of ``claim.lua``. Raises ``UndecodableRecord``."""
    job_id, text, stored, now_ms, opening, values, probe, has_more = reply
    job = Job.decode(_in_order(values))
    if job.id != job_id.decode():
        raise UndecodableRecord(f"job {job_id.decode()}", values)
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
        probe=probe.decode(),
        has_more=bool(has_more),
    )
