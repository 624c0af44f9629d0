"""Accepting a job: all or nothing, once per Idempotency-Key, within the queue's limit."""

from __future__ import annotations

from dataclasses import replace

import pytest

from spool.errors import BatchNotFound, IdempotencyConflict, QueueFull
from spool.ids import new_batch_id
from spool.jobs.coalescing import Coalescing
from spool.jobs.job import NewJob, OnDisconnect, OnWorkerLoss, Priority, Status
from spool.jobs.store import JobStore
from spool.keys import job as job_key
from spool.keys import prefix
from spool.redis.link import RedisLink
from tests.by_hand import OWNER, HandWorker, new_job, record, store_of, submit
from tests.contents import contents


def test_submit_writes_the_record(link: RedisLink) -> None:
    """What was submitted is what is looked up."""
    new = new_job(priority=Priority.BATCH, metadata={"a": "b"}, timeout_s=60.0)
    job = store_of(link).submit(new, max_queued=10).job
    assert job == store_of(link).submit(new, max_queued=10).job
    assert (job.id, job.owner, job.model, job.status) == (new.id, OWNER, "demo", Status.QUEUED)
    assert (job.priority, job.metadata, job.last_entry, job.attempt) == (Priority.BATCH, {"a": "b"}, 0, 0)
    assert job.deadline_at - job.created_at == pytest.approx(60)
    assert store_of(link).input_of(new.id) == new.input


def test_submit_sent_twice(link: RedisLink) -> None:
    """The same submit again, after its answer was lost, changes nothing and is no replay."""
    new = new_job(batch="", idempotency_key="k", body_digest="d")
    store_of(link).submit(new, max_queued=10)
    before = contents(link)
    again = store_of(link).submit(new, max_queued=10)
    assert not again.replayed
    assert contents(link) == before


def test_submit_same_key_same_body(link: RedisLink) -> None:
    """The same Idempotency-Key and body give the job that was made first."""
    store = store_of(link)
    first = store.submit(new_job(idempotency_key="k", body_digest="d"), max_queued=10)
    second = store.submit(new_job(idempotency_key="k", body_digest="d"), max_queued=10)
    assert second.replayed
    assert second.job == first.job
    assert link.call("ZCARD", f"{prefix(0)}pending:demo") == 1


def test_submit_same_key_other_body(link: RedisLink) -> None:
    """The same Idempotency-Key with another body is a conflict that names the job, and writes nothing."""
    store = store_of(link)
    first = store.submit(new_job(idempotency_key="k", body_digest="d"), max_queued=10)
    before = contents(link)
    with pytest.raises(IdempotencyConflict) as caught:
        store.submit(new_job(idempotency_key="k", body_digest="e"), max_queued=10)
    assert caught.value.job_id == first.job.id
    assert contents(link) == before


def test_submit_same_key_other_owner(link: RedisLink) -> None:
    """An Idempotency-Key is its owner's alone."""
    store = store_of(link)
    first = store.submit(new_job(idempotency_key="k", body_digest="d"), max_queued=10)
    other = store.submit(new_job(idempotency_key="k", body_digest="e", owner="bob"), max_queued=10)
    assert not other.replayed
    assert other.job.id != first.job.id


@pytest.mark.one_shard
def test_submit_when_the_queue_is_full(link: RedisLink) -> None:
    """A submit beyond the limit, over all models, is refused and writes nothing."""
    submit(link)
    submit(link, model="other")
    before = contents(link)
    with pytest.raises(QueueFull):
        store_of(link).submit(new_job(), max_queued=2)
    assert contents(link) == before


@pytest.mark.one_shard
def test_submit_replayed_when_the_queue_is_full(link: RedisLink) -> None:
    """A job that is there already is answered although the queue is full."""
    submit(link, idempotency_key="k", body_digest="d")
    assert store_of(link).submit(new_job(idempotency_key="k", body_digest="d"), max_queued=1).replayed


def test_submit_room_after_a_claim(link: RedisLink) -> None:
    """Running jobs do not count against the queue."""
    submit(link)
    HandWorker(link).take()
    assert store_of(link).submit(new_job(), max_queued=1).job.status == Status.QUEUED


@pytest.mark.one_shard
def test_submit_to_a_batch_that_is_not_there(link: RedisLink) -> None:
    """A job of a batch that nobody opened is refused and writes nothing."""
    with pytest.raises(BatchNotFound):
        store_of(link).submit(new_job(batch=new_batch_id(0)), max_queued=10)
    assert contents(link) == {}


@pytest.mark.one_shard
def test_submit_of_a_watched_job(link: RedisLink) -> None:
    """Only a job that is to end with its last reader is watched."""
    submit(link)
    assert link.call("ZCARD", f"{prefix(0)}watched") == 0
    job = submit(link, on_disconnect=OnDisconnect.CANCEL)
    assert link.call("ZRANGE", f"{prefix(0)}watched", 0, -1) == [job.id.encode()]


def test_submit_starts_by_its_deadline(link: RedisLink) -> None:
    """The time to begin is never after the time to end."""
    stored = record(link, submit(link, timeout_s=5.0, start_s=100.0).id)
    assert stored["start_by_ms"] == stored["deadline_ms"]


def test_batch_counts_its_jobs(link: RedisLink) -> None:
    """A batch's counts follow each job through its states."""
    store, worker = store_of(link), HandWorker(link)
    batch = new_batch_id(0)
    store.open_batch(batch, OWNER, 3, ttl_s=60, timeout_s=3600)
    news = [new_job(batch=batch, batch_index=n) for n in range(3)]
    store.submit_many(news, max_queued=10)
    assert counts(store, batch) == {"queued": 3}
    claim = worker.take()
    assert counts(store, batch) == {"queued": 2, "running": 1}
    worker.finish(claim)
    store.cancel(news[2].id, OWNER)
    assert counts(store, batch) == {"queued": 1, "succeeded": 1, "cancelled": 1}
    assert store.batch_jobs(batch, ended=True, start=0, count=10) == [news[0].id, news[2].id]
    assert store.batch_jobs(batch, ended=False, start=1, count=10) == [news[1].id, news[2].id]


def test_batch_submitted_twice_counts_once(link: RedisLink) -> None:
    """A batch's job that is sent again after a lost answer counts once."""
    store = store_of(link)
    batch = new_batch_id(0)
    store.open_batch(batch, OWNER, 1, ttl_s=60, timeout_s=3600)
    store.open_batch(batch, OWNER, 1, ttl_s=60, timeout_s=3600)
    new = new_job(batch=batch)
    store.submit(new, max_queued=10)
    store.submit(new, max_queued=10)
    assert counts(store, batch) == {"queued": 1}
    assert store.batch_jobs(batch, ended=False, start=0, count=10) == [new.id]


def test_batch_expires_with_its_last_job(link: RedisLink) -> None:
    """A batch outlives every deadline of its jobs, and has its own expiry when the last one has ended."""
    store = store_of(link)
    batch = new_batch_id(0)
    key = f"{prefix(0)}batch:{batch}"
    names = (key, f"{key}:jobs", f"{key}:ended")
    store.open_batch(batch, OWNER, 2, ttl_s=60, timeout_s=3600)
    news: list[NewJob] = [new_job(batch=batch, batch_index=n) for n in range(2)]
    store.submit_many(news, max_queued=10)
    store.cancel(news[0].id, OWNER)
    assert all(link.call("TTL", name) > 3660 for name in names)
    store.cancel(news[1].id, OWNER)
    assert all(0 < link.call("TTL", name) <= 60 for name in names)


@pytest.mark.one_shard
def test_no_key_expires_before_the_end(link: RedisLink) -> None:
    """Nothing of a job that has not ended has an expiry; all of it has one after the end, and a tombstone outlives
    it."""
    store, worker = store_of(link), HandWorker(link)
    job = submit(link, ttl_s=100, idempotency_key="k", body_digest="d")
    claim = worker.take()
    worker.say(claim, "a")
    key, idempotency = job_key(job.id), f"{prefix(0)}idempotency:{OWNER}:k"
    names = [key, f"{key}:input", f"{key}:log", f"{key}:text", idempotency]
    assert [link.call("TTL", name) for name in names] == [-1] * 5
    assert link.call("EXISTS", f"{key}:gone") == 0
    worker.finish(claim)
    assert all(90 < link.call("TTL", name) <= 100 for name in names)
    assert link.call("TTL", f"{key}:gone") > 86_400
    assert store.look(job.id, OWNER).status == Status.SUCCEEDED


def counts(store: JobStore, batch: str) -> dict[str, int]:
    """What the batch counts, without zeros."""
    found = store.batch(batch, OWNER)
    return {status.value: int(found[status]) for status in Status if int(found.get(status, 0))}


@pytest.mark.parametrize("batch", ["", new_batch_id(0)], ids=["alone", "in a batch"])
def test_accepted_job_is_as_its_record(link: RedisLink, batch: str) -> None:
    """What a submit answers is the job as reading it shows it, whatever was asked for."""
    store = store_of(link)
    if batch:
        store.open_batch(batch, OWNER, 1, ttl_s=60, timeout_s=60)
    new = new_job(
        priority=Priority.BATCH,
        metadata={"a": "b"},
        surface="v1",
        on_disconnect=OnDisconnect.CANCEL,
        on_worker_loss=OnWorkerLoss.FAIL,
        continuable=True,
        coalesce=Coalescing(100, sentence_end=True),
        chat="c",
        batch=batch,
        batch_index=3,
    )
    submitted = store.submit(new, max_queued=5).job
    assert submitted == replace(store.look(new.id, OWNER), text=None)
