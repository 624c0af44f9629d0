"""A job whose ``start_within_s`` is near goes first in its flow, and nowhere else."""

from __future__ import annotations

from typing import Any

import pytest

from spool.ids import new_batch_id, shard_of
from spool.jobs.job import Job, Priority
from spool.jobs.scheduling import NEAR_S, Conversation, Scheduling
from spool.jobs.submission import NewBatch
from spool.jobs.waits import place_of
from spool.keys import prefix
from spool.redis.link import RedisLink
from tests.by_hand import HandWorker, age, keep, new_job, record, shards_of, store_of, submit

pytestmark = pytest.mark.one_shard
FAR_S = 3000.0


def within(seconds: float, **fields: Any) -> Scheduling:
    """A job that must begin within so many seconds."""
    return Scheduling(start_within_s=seconds, **fields)


def come_near(link: RedisLink, job_id: str) -> None:
    """Half of its time has passed; the keeper looks at the job."""
    age(link, job_id, created_ms=1)
    link.call("ZADD", f"{prefix(shard_of(job_id))}deadlines", "XX", 1, job_id)
    keep(link, lease_ms=60_000)


def claimed(worker: HandWorker, count: int) -> list[str]:
    """The next jobs."""
    return [worker.take().job.id for _ in range(count)]


def places(link: RedisLink, jobs: list[Job]) -> list[int]:
    """Their positions in the queue of their model."""
    facts, found = store_of(link).look_queue(jobs[0].model, [job.id for job in jobs])
    exact = [facts.position(place.flow, place.here, place.before or 0) for place in (found[job.id] for job in jobs)]
    return [position for position, _is_exact in exact]


def test_near_jobs_go_first(link: RedisLink) -> None:
    """In a flow the earliest time to begin is first, then the order of submit; positions say so."""
    plain, late, far, early = (
        submit(link, scheduling=scheduling)
        for scheduling in (Scheduling(), within(NEAR_S), within(FAR_S), within(NEAR_S - 1))
    )
    jobs = [early, late, plain, far]
    assert places(link, jobs) == [0, 1, 2, 3]
    assert claimed(HandWorker(link), 4) == [job.id for job in jobs]


def test_job_comes_near(link: RedisLink) -> None:
    """From the second half of its time on, a job is before those that were submitted earlier."""
    plain, job = submit(link), submit(link, scheduling=within(FAR_S))
    start_by = int(record(link, job.id)["start_by_ms"])
    looked_at = link.call("ZSCORE", f"{prefix(0)}deadlines", job.id)
    assert int(looked_at) == start_by - FAR_S * 1000 / 2
    come_near(link, job.id)
    assert int(link.call("ZSCORE", f"{prefix(0)}deadlines", job.id)) == start_by
    assert places(link, [job, plain]) == [0, 1]
    assert claimed(HandWorker(link), 2) == [job.id, plain.id]


def test_other_flows_keep_their_turns(link: RedisLink) -> None:
    """A near job overtakes no other flow: not that of another owner, and no interactive job from a batch."""
    first, other, interactive = submit(link), submit(link, owner="bob"), submit(link, owner="carol")
    near = submit(link, scheduling=within(NEAR_S))
    batch = submit(link, owner="carol", priority=Priority.BATCH, scheduling=within(NEAR_S))
    expected = [near.id, other.id, interactive.id, first.id, batch.id]
    assert claimed(HandWorker(link), 5) == expected


def test_batch_with_a_near_job(link: RedisLink) -> None:
    """A batch goes first with its near job, and returns to its place afterwards."""
    store, shards = store_of(link), shards_of(link)
    before = submit(link, priority=Priority.BATCH)
    batch_id, fields = new_batch_id(0), {"priority": Priority.BATCH, "scheduling": within(FAR_S)}
    jobs = [shards.place(new_job(batch=batch_id, batch_index=n, **fields)) for n in range(3)]
    batch = NewBatch(batch_id, before.owner, jobs)
    store.stage_batch(batch, max_queued=10)
    store.submit_many(jobs, max_queued=10)
    come_near(link, jobs[1].id)
    store.seal_batch(batch)
    come_near(link, jobs[2].id)
    found = claimed(HandWorker(link), 4)
    # The two may have to start in the same millisecond.
    assert (set(found[:2]), found[2:]) == ({jobs[1].id, jobs[2].id}, [before.id, jobs[0].id])


def test_near_when_its_turn_comes(link: RedisLink) -> None:
    """A job that comes near while it is held is first once its conversation's turn is its own."""
    conversation = Conversation("c")
    first = submit(link, scheduling=Scheduling(conversation=conversation))
    held = submit(link, scheduling=within(FAR_S, conversation=conversation))
    worker = HandWorker(link)
    claim = worker.take()
    assert claim.job.id == first.id
    plain = submit(link)
    come_near(link, held.id)
    worker.finish(claim)
    assert claimed(worker, 2) == [held.id, plain.id]


def test_place_of_a_new_near_job(link: RedisLink) -> None:
    """The answer of a submit estimates that a near job is the first of its flow."""
    jobs = [submit(link) for _ in range(5)]
    facts, _ = store_of(link).look_queue(jobs[0].model, [jobs[0].id])
    near, far = (submit(link, scheduling=within(seconds)) for seconds in (NEAR_S, NEAR_S + 1))
    assert (place_of(near, facts).before, place_of(far, facts).before) == (0, 5)
