"""Held jobs: no claim finds one before its ``not_before``, or while another job of its conversation has the turn."""

from __future__ import annotations

from typing import Any

import pytest

from spool.errors import ConversationBusy, ConversationFull
from spool.ids import new_batch_id, shard_of
from spool.jobs.job import Job, Priority, Status
from spool.jobs.scheduling import Conversation, OnBusy, Scheduling
from spool.jobs.submission import NewBatch
from spool.keys import job as job_key
from spool.keys import prefix
from spool.redis.link import RedisLink
from tests.by_hand import OWNER, HandWorker, age, keep, kinds_of, new_job, record, shards_of, store_of, submit

LATER_S = 3600.0


def now(link: RedisLink) -> float:
    """Redis's time in seconds: the scripts' clock."""
    seconds, micros = link.call("TIME")
    return int(seconds) + int(micros) / 1e6


def submit_later(link: RedisLink, **fields: Any) -> Job:
    """A job that may begin in an hour."""
    scheduling = Scheduling(not_before=now(link) + LATER_S, **fields)
    return submit(link, scheduling=scheduling, timeout_s=60.0)


def make_due(link: RedisLink, job: Job) -> None:
    """Its ``not_before`` has come."""
    link.call("HSET", job_key(job.id), "not_before_ms", 1)
    link.call("ZADD", f"{prefix(shard_of(job.id))}scheduled", "XX", 1, job.id)


def turn(link: RedisLink, on_busy: OnBusy = OnBusy.ENQUEUE, **fields: Any) -> Job:
    """A job of the one conversation."""
    return submit(link, scheduling=Scheduling(conversation=Conversation("c", on_busy)), **fields)


def claimed(worker: HandWorker) -> str | None:
    """The id of the next job."""
    claim = worker.claim()
    return claim and claim.job.id


def status(link: RedisLink, job: Job) -> tuple[Status, str | None]:
    """Where a job is, and the code of its error."""
    found = store_of(link).look(job.id, OWNER)
    return found.status, found.error["code"] if found.error else None


def held_keys(link: RedisLink) -> list[bytes]:
    """The keys that hold jobs."""
    return [*link.call("KEYS", "*scheduled"), *link.call("KEYS", "*turns:*")]


def test_not_before_is_held_until_due(link: RedisLink) -> None:
    """A job is not claimed before its time; the keeper queues it then, in the order of submit."""
    later, other = submit_later(link), submit(link)
    worker = HandWorker(link)
    keep(link)
    assert later.queue_position is None
    assert store_of(link).look(later.id, OWNER).queue_position is None
    assert claimed(worker) == other.id
    assert claimed(worker) is None
    make_due(link, later)
    reply = keep(link)
    assert reply is not None
    assert reply[0] == 1, "the bell rings for it"
    assert claimed(worker) == later.id
    assert held_keys(link) == []


def test_not_before_starts_the_clocks(link: RedisLink) -> None:
    """Deadline and ``start_within_s`` count from ``not_before``."""
    job = submit_later(link, start_within_s=30.0)
    not_before = int(record(link, job.id)["not_before_ms"])
    assert job.deadline_at * 1000 == not_before + 60_000
    assert int(record(link, job.id)["start_by_ms"]) == not_before + 30_000


def test_not_before_is_cancelled(link: RedisLink) -> None:
    """A held job ends at once on a cancel, and leaves nothing behind that would queue it."""
    job = submit_later(link)
    store_of(link).cancel(job.id, OWNER)
    assert kinds_of(link, job.id) == ["cancelled"]
    assert held_keys(link) == []


def test_start_within_ends_a_waiting_job(link: RedisLink) -> None:
    """A job that has not begun in time ends by the keeper, with the code that the caller chose the limit by."""
    job = submit(link, scheduling=Scheduling(start_within_s=5.0))
    age(link, job.id, created_ms=1, start_by_ms=5001)
    keep(link)
    assert status(link, job) == (Status.FAILED, "start_deadline_exceeded")
    error = store_of(link).look(job.id, OWNER).error
    assert error is not None
    assert "5 s" in error["message"]


def test_start_within_beats_a_claim(link: RedisLink) -> None:
    """A claim ends a job whose time to begin has passed, and takes the next one."""
    late, other = submit(link, scheduling=Scheduling(start_within_s=5.0)), submit(link)
    age(link, late.id, created_ms=1, start_by_ms=5001)
    worker = HandWorker(link)
    assert [claimed(worker), claimed(worker)] == [other.id, None]
    assert status(link, late) == (Status.FAILED, "start_deadline_exceeded")


def test_start_within_is_over_once_begun(link: RedisLink) -> None:
    """A job that has begun has no time to begin, also when it waits for another attempt."""
    job = submit(link, scheduling=Scheduling(start_within_s=5.0))
    HandWorker(link).take()
    age(link, job.id, leased_until_ms=1, created_ms=1, start_by_ms=5001)
    keep(link)
    keep(link)
    assert status(link, job) == (Status.QUEUED, None)


def test_model_start_s_keeps_its_code(link: RedisLink) -> None:
    """Where the model's ``start_s`` is shorter, it gives the code."""
    job = submit(link, scheduling=Scheduling(start_within_s=50.0), start_s=5.0)
    age(link, job.id, created_ms=1, start_by_ms=5001)
    keep(link)
    assert status(link, job) == (Status.FAILED, "start_timeout")


def test_turns_are_taken_one_by_one(link: RedisLink) -> None:
    """One job of a conversation runs at a time, in the order of submit; each end gives the turn to the next."""
    first, second, third = turn(link), turn(link), turn(link, priority=Priority.BATCH)
    other = submit(link, owner="bob", scheduling=Scheduling(conversation=Conversation("c")))
    worker = HandWorker(link)
    begun = [worker.take(), worker.take()]
    assert {claim.job.id for claim in begun} == {first.id, other.id}
    assert claimed(worker) is None
    keep(link, lease_ms=10_000)
    for before, following in ((first, second), (second, third)):
        claim = next(claim for claim in begun if claim.job.id == before.id)
        worker.finish(claim)
        begun.append(worker.take())
        assert begun[-1].job.id == following.id
    for claim in begun:
        if record(link, claim.job.id)["status"] == "running":
            worker.finish(claim)
    assert held_keys(link) == []


def test_turn_survives_a_lost_worker(link: RedisLink) -> None:
    """A job that waits for another attempt keeps its turn."""
    first, second = turn(link), turn(link)
    worker = HandWorker(link)
    worker.take()
    age(link, first.id, leased_until_ms=1)
    keep(link)
    again = worker.take()
    assert again.job.id == first.id
    assert claimed(worker) is None
    worker.finish(again)
    assert claimed(worker) == second.id


@pytest.mark.parametrize("ending", ["cancelled", "failed", "damaged", "erased"])
def test_turn_is_released(link: RedisLink, ending: str) -> None:
    """However the job with the turn ends, the next one begins; the keeper helps where its record is gone."""
    first, second = turn(link), turn(link)
    if ending == "cancelled":
        store_of(link).cancel(first.id, OWNER)
    elif ending == "failed":
        age(link, first.id, deadline_ms=1)
        keep(link)
    elif ending == "damaged":
        link.call("HSET", job_key(first.id), "seq", "x")
        keep(link)
        HandWorker(link).claim()
        age(link, second.id, leased_until_ms=1)
        keep(link)
    else:
        link.call("DEL", job_key(first.id))
        keep(link)
    assert claimed(HandWorker(link)) == second.id


def test_reject_names_the_earlier_job(link: RedisLink) -> None:
    """While an earlier job of the conversation has not ended, a submit is refused and writes nothing."""
    first = turn(link, OnBusy.REJECT)
    keys = sorted(link.call("KEYS", "*"))
    with pytest.raises(ConversationBusy) as caught:
        turn(link, OnBusy.REJECT)
    assert caught.value.job_id == first.id
    assert sorted(link.call("KEYS", "*")) == keys
    worker = HandWorker(link)
    worker.finish(worker.take())
    assert claimed(worker) is None
    second = turn(link, OnBusy.REJECT)
    assert claimed(worker) == second.id


def test_reject_knows_the_same_submit(link: RedisLink) -> None:
    """The same submit again, after its answer was lost, is not refused by itself."""
    scheduling = Scheduling(conversation=Conversation("c", OnBusy.REJECT))
    new = new_job(scheduling=scheduling)
    assert store_of(link).submit(new, max_queued=10).job == store_of(link).submit(new, max_queued=10).job


def test_interrupt_cancels_the_earlier_jobs(link: RedisLink) -> None:
    """The job that runs is asked to end, those that wait end at once, and the new job begins after them."""
    first, second = turn(link), turn(link)
    worker = HandWorker(link)
    claim = worker.take()
    third = turn(link, OnBusy.INTERRUPT)
    assert kinds_of(link, second.id) == ["cancelled"]
    assert store_of(link).look(first.id, OWNER).cancel_requested_at is not None
    assert claimed(worker) is None
    age(link, first.id, leased_until_ms=1)
    keep(link)
    assert kinds_of(link, first.id) == ["started", "cancelled"]
    assert claimed(worker) == third.id
    assert claim.job.id == first.id


@pytest.mark.one_shard
def test_conversation_is_bounded(link: RedisLink) -> None:
    """At most a hundred jobs of one conversation wait."""
    for _ in range(100):
        turn(link)
    with pytest.raises(ConversationFull):
        turn(link)


def test_due_job_waits_for_its_turn(link: RedisLink) -> None:
    """A job that becomes due while its conversation is busy waits behind the one that runs, although it is older."""
    later = submit_later(link, conversation=Conversation("c"))
    first = turn(link)
    worker = HandWorker(link)
    claim = worker.take()
    assert claim.job.id == first.id
    make_due(link, later)
    keep(link, lease_ms=10_000)
    assert claimed(worker) is None
    worker.finish(claim)
    assert claimed(worker) == later.id


@pytest.mark.one_shard
def test_holds_are_rebuilt(link: RedisLink) -> None:
    """After the indexes are lost, the keeper holds the same jobs again, from their records."""
    later, first, second = submit_later(link), turn(link), turn(link)
    worker = HandWorker(link)
    claim = worker.take()
    assert claim.job.id == first.id
    age(link, first.id, leased_until_ms=10**13)
    for key in held_keys(link):
        link.call("SET", key, "another type")
    for _ in range(20):
        keep(link, lease_ms=10_000)
    assert link.call("ZRANGE", f"{prefix(0)}scheduled", 0, -1) == [later.id.encode()]
    assert claimed(worker) is None
    worker.finish(claim)
    assert claimed(worker) == second.id


@pytest.mark.one_shard
def test_staged_batch_that_is_dropped(link: RedisLink) -> None:
    """The jobs of a dropped batch leave their conversation; those of a sealed one take turns."""
    shards, store = shards_of(link), store_of(link)
    scheduling = Scheduling(conversation=Conversation("c"))
    for is_sealed in (False, True):
        batch_id = new_batch_id(0)
        jobs = [shards.place(new_job(batch=batch_id, batch_index=n, scheduling=scheduling)) for n in range(2)]
        batch = NewBatch(batch_id, OWNER, jobs)
        store.stage_batch(batch, max_queued=10)
        store.submit_many(jobs, max_queued=10)
        assert HandWorker(link).claim() is None
        if is_sealed:
            store.seal_batch(batch)
        else:
            store.drop_batch(batch_id)
            assert held_keys(link) == []
    worker = HandWorker(link)
    claim = worker.take()
    assert claimed(worker) is None
    worker.finish(claim)
    assert claimed(worker) == jobs[1].id
