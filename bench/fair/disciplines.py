"""The order in which queued jobs begin: Spool's, by its own scripts on a real Redis, and two usual ones on lists."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from bench.fair.trace import Work
from rig.by_hand import HandWorker, age, done, keep, new_job, shards_of
from spool.ids import new_job_id
from spool.jobs.claims import Claim
from spool.jobs.job import NewJob
from spool.jobs.scheduling import Scheduling
from spool.jobs.store import JobStore
from spool.redis.link import RedisLink

_TIMEOUT_S = 86_400.0
_AT_ONCE = 500
"""Submits in one round trip."""


@dataclass(frozen=True, slots=True)
class Begun:
    """A job that occupies a slot. ``claim`` is what its discipline needs to end it."""

    work: Work
    claim: Any = None


class Discipline(Protocol):
    """A queue in front of the slots of several workers."""

    def submit(self, works: Sequence[Work]) -> None:
        """Add jobs, in this order."""
        ...

    def begin(self, worker: int) -> Begun | None:
        """The next job, for a slot of this worker."""
        ...

    def end(self, worker: int, begun: Begun) -> None:
        """The job has ended."""
        ...

    def lose(self, worker: int, held: Sequence[Begun]) -> None:
        """The worker has died, with these jobs; they have to begin again."""
        ...


class FirstCome:
    """A list in the order of arrival, which is what a Celery queue on Redis is."""

    def __init__(self) -> None:
        self._queue: deque[Work] = deque()

    def submit(self, works: Sequence[Work]) -> None:
        self._queue.extend(works)

    def begin(self, worker: int) -> Begun | None:  # noqa: ARG002
        return Begun(self._queue.popleft()) if self._queue else None

    def end(self, worker: int, begun: Begun) -> None:
        """Nothing to do."""

    def lose(self, worker: int, held: Sequence[Begun]) -> None:  # noqa: ARG002
        self._queue.extendleft(begun.work for begun in held)


class ByTurns:
    """A list for each owner, and a job of each in turn: fair by the number of jobs."""

    def __init__(self) -> None:
        self._queues: dict[str, deque[Work]] = {}
        self._turns: deque[str] = deque()

    def submit(self, works: Sequence[Work]) -> None:
        for work in works:
            self._queue_of(work.owner).append(work)

    def _queue_of(self, owner: str) -> deque[Work]:
        if owner not in self._queues:
            self._queues[owner] = deque()
            self._turns.appendleft(owner)
        return self._queues[owner]

    def begin(self, worker: int) -> Begun | None:  # noqa: ARG002
        for _ in range(len(self._turns)):
            self._turns.rotate(-1)
            queue = self._queues[self._turns[-1]]
            if queue:
                return Begun(queue.popleft())
        return None

    def end(self, worker: int, begun: Begun) -> None:
        """Nothing to do."""

    def lose(self, worker: int, held: Sequence[Begun]) -> None:  # noqa: ARG002
        for begun in held:
            self._queue_of(begun.work.owner).appendleft(begun.work)


class Spool:
    """Spool's scripts. Jobs do not say how long their answers will be. Owners with weights are the fairness keys of one
    owner, an application."""

    def __init__(self, link: RedisLink, workers: int) -> None:
        self._link = link
        self._store = JobStore(shards_of(link))
        self._workers = [HandWorker(link, lease_s=3600, max_attempts=1000, name=f"w{n}") for n in range(workers)]
        self._works: dict[str, Work] = {}

    def submit(self, works: Sequence[Work]) -> None:
        for at in range(0, len(works), _AT_ONCE):
            part = {new_job_id(0): work for work in works[at : at + _AT_ONCE]}
            self._works |= part
            self._store.submit_many([_new_job(*each) for each in part.items()], max_queued=1_000_000)

    def begin(self, worker: int) -> Begun | None:
        claim = self._workers[worker].claim()
        return None if claim is None else Begun(self._works[claim.job.id], claim)

    def end(self, worker: int, begun: Begun) -> None:
        claim: Claim = begun.claim
        usage = {"input_tokens": 2, "output_tokens": begun.work.tokens}
        ending = orjson.dumps({"status": "succeeded", "usage": usage, "finish_reason": "stop"})
        self._workers[worker].append(claim, claim.first, [done(claim.first)], ending=ending)

    def lose(self, worker: int, held: Sequence[Begun]) -> None:  # noqa: ARG002
        for begun in held:
            age(self._link, begun.claim.job.id, leased_until_ms=1)
        keep(self._link, lease_ms=3_600_000, max_attempts=1000)


def _new_job(job_id: str, work: Work) -> NewJob:
    if work.weight == 1:
        return new_job(id=job_id, owner=work.owner, timeout_s=_TIMEOUT_S)
    scheduling = Scheduling(fairness_key=work.owner, fairness_weight=work.weight)
    return new_job(id=job_id, owner="application", timeout_s=_TIMEOUT_S, scheduling=scheduling)
