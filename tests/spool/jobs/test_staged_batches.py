"""Batches are accepted whole or not at all: room is reserved first, no job begins before the last is written, and what
is given up leaves nothing."""

from __future__ import annotations

import pytest

from spool.errors import (
    BatchNotFound,
    BatchStaging,
    IdempotencyConflict,
    OwnerBytesFull,
    OwnerQueueFull,
    QueueFull,
    StoreFull,
)
from spool.ids import new_batch_id
from spool.jobs.job import NewJob
from spool.jobs.owner_limits import OwnerLimits
from spool.jobs.store import JobStore
from spool.jobs.submission import NewBatch
from spool.keys import prefix
from spool.redis.link import RedisLink
from tests.by_hand import OWNER, HandWorker, keep, new_job, store_of, submit, use
from tests.web.problem_shape import stored

P = prefix(0)
LIMITS = OwnerLimits()


def new_batch(count: int, *, key: str = "", digest: str = "", **fields: object) -> NewBatch:
    """A batch of so many jobs of ``alice``."""
    batch_id = new_batch_id(0)
    jobs = [new_job(batch=batch_id, batch_index=n, **fields) for n in range(count)]
    return NewBatch(batch_id, OWNER, jobs, key, digest)


def write(store: JobStore, batch: NewBatch, jobs: list[NewJob] | None = None) -> None:
    """Write its lines, or some."""
    store.submit_many(batch.jobs if jobs is None else jobs, max_queued=1000)


def test_no_job_begins_before_the_last_is_written(link: RedisLink) -> None:
    """Workers find a batch's jobs once it is sealed, in the order of submit among all jobs."""
    store, worker, batch = store_of(link), HandWorker(link), new_batch(3)
    store.stage_batch(batch, max_queued=10)
    write(store, batch)
    later = submit(link)
    assert worker.take().job.id == later.id
    assert worker.claim() is None
    store.seal_batch(batch)
    store.seal_batch(batch)
    assert [worker.take().job.id for _ in range(3)] == [job.id for job in batch.jobs]
    assert link.call("EXISTS", f"{P}staging") == 0


@pytest.mark.one_shard
def test_room_is_reserved_for_all_lines(link: RedisLink) -> None:
    """Between two lines of a batch no other submit can take its places, and its own lines are refused nothing."""
    store, batch = store_of(link), new_batch(3)
    store.stage_batch(batch, max_queued=4)
    assert use(link)["queued"] == 3
    store.submit(new_job(owner="bob"), max_queued=4)
    with pytest.raises(QueueFull):
        store.submit(new_job(owner="bob"), max_queued=4)
    store.submit_many(batch.jobs, max_queued=4)
    store.seal_batch(batch)
    assert use(link)["queued"] == 3
    assert link.call("HEXISTS", f"{P}ledger", batch.id) == 0


@pytest.mark.parametrize(
    ("limits", "refusal"),
    [
        (OwnerLimits(queued=2), OwnerQueueFull),
        (OwnerLimits(bytes=9_000), OwnerBytesFull),
        (OwnerLimits(watermark=0.001), StoreFull),
        (OwnerLimits(), QueueFull),
    ],
)
def test_refused_batch_leaves_nothing(link: RedisLink, limits: OwnerLimits, refusal: type[Exception]) -> None:
    """A batch that does not fit is refused before its first line, and no key is there that was not before."""
    store = store_of(link)
    keep(link, lease_ms=60_000)
    link.call("HSET", f"{P}memory", "max", 2**30)
    before, most = stored(link), 2 if refusal is QueueFull else 9
    for _ in range(3):
        with pytest.raises(refusal):
            store.stage_batch(new_batch(3, key="k", digest="d"), max_queued=most, limits=limits)
    assert stored(link) == before


@pytest.mark.parametrize("lines", [0, 2, 3])
def test_batch_that_is_dropped_leaves_nothing(link: RedisLink, lines: int) -> None:
    """Whatever was written of a batch that is given up is gone, and no more lines of it are accepted."""
    store, batch = store_of(link), new_batch(3, key="k", digest="d")
    submit(link, owner="bob", model="other")
    before = stored(link)
    store.stage_batch(batch, max_queued=10)
    write(store, batch, list(batch.jobs[:lines]) or None) if lines else None
    assert store.drop_batch(batch.id)
    after = stored(link)
    for name in ("seq", "models"):
        after.pop(f"{P}{name}".encode(), None)
        before.pop(f"{P}{name}".encode(), None)
    assert after == before
    with pytest.raises(BatchNotFound):
        write(store, batch)
    with pytest.raises(BatchNotFound):
        store.seal_batch(batch)


def test_batch_whose_web_died(link: RedisLink) -> None:
    """The keeper forgets a batch that got no line for a minute, and what was written of it."""
    store, batch = store_of(link), new_batch(3)
    store.stage_batch(batch, max_queued=10)
    write(store, batch, list(batch.jobs[:2]))
    keep(link, lease_ms=60_000)
    assert use(link)["queued"] == 3
    link.call("ZADD", f"{P}staging", 1, batch.id)
    keep(link, lease_ms=60_000)
    assert use(link) == {}
    assert link.call("KEYS", f"{P}job:*") == link.call("KEYS", f"{P}batch:*") == []
    assert link.call("EXISTS", f"{P}pending:demo", f"{P}deadlines", f"{P}owner:{OWNER}", f"{P}ledger") == 0


def test_sealed_batch_is_not_dropped(link: RedisLink) -> None:
    """A web that lost the answer to its seal learns so, and the batch stays."""
    store, batch = store_of(link), new_batch(2)
    store.stage_batch(batch, max_queued=10)
    write(store, batch)
    store.seal_batch(batch)
    assert not store.drop_batch(batch.id)
    assert HandWorker(link).take().job.id == batch.jobs[0].id


def test_batch_with_lines_missing_is_not_sealed(link: RedisLink) -> None:
    """A seal that comes before the last line, or after Redis lost one, is refused."""
    store, batch = store_of(link), new_batch(3)
    store.stage_batch(batch, max_queued=10)
    write(store, batch, list(batch.jobs[:2]))
    with pytest.raises(BatchNotFound):
        store.seal_batch(batch)
    assert HandWorker(link).claim() is None


def test_batch_asked_for_again(link: RedisLink) -> None:
    """Under one Idempotency-Key there is one batch: a second call waits for the first, then gets it."""
    store, batch = store_of(link), new_batch(2, key="k", digest="d")
    assert store.stage_batch(batch, max_queued=10) == batch.id
    assert store.stage_batch(batch, max_queued=10) == batch.id
    with pytest.raises(BatchStaging):
        store.stage_batch(new_batch(2, key="k", digest="d"), max_queued=10)
    write(store, batch)
    store.seal_batch(batch)
    assert store.stage_batch(new_batch(2, key="k", digest="d"), max_queued=10) == batch.id
    with pytest.raises(IdempotencyConflict):
        store.stage_batch(new_batch(2, key="k", digest="other"), max_queued=10)
    with pytest.raises(IdempotencyConflict):
        store.submit(new_job(idempotency_key="k", body_digest="x"), max_queued=10)


def test_key_of_a_batch_goes_with_it(link: RedisLink) -> None:
    """The Idempotency-Key of a batch is kept as long as the batch."""
    store, worker, batch = store_of(link), HandWorker(link), new_batch(1, key="k", digest="d", ttl_s=60)
    store.stage_batch(batch, max_queued=10)
    write(store, batch)
    store.seal_batch(batch)
    worker.finish(worker.take())
    key = f"{P}idempotency:{OWNER}:k"
    assert 0 < link.call("PTTL", key) <= 60_000
    assert 0 < link.call("PTTL", f"{P}batch:{batch.id}") <= 60_000


def test_job_of_a_staged_batch_that_ends(link: RedisLink) -> None:
    """A staged job may be cancelled, or pass its deadline, before its batch is sealed; the batch counts it."""
    store, worker, batch = store_of(link), HandWorker(link), new_batch(2)
    store.stage_batch(batch, max_queued=10)
    write(store, batch)
    store.cancel(batch.jobs[0].id, OWNER)
    assert worker.claim() is None
    store.seal_batch(batch)
    assert worker.take().job.id == batch.jobs[1].id
    record = store.batch(batch.id, OWNER)
    assert (record["cancelled"], record["running"]) == ("1", "1")


def test_batches_of_an_owner_at_its_limit(link: RedisLink) -> None:
    """Batches wait like other jobs for their owner's running ones, and each job is found in its turn."""
    store, worker = store_of(link), HandWorker(link)
    store.publish_limits(OwnerLimits(running=1))
    batches = [new_batch(2) for _ in range(2)]
    for batch in batches:
        store.stage_batch(batch, max_queued=10)
        write(store, batch)
    for batch in reversed(batches):
        store.seal_batch(batch)
    for job in [job for batch in batches for job in batch.jobs]:
        claim = worker.take()
        assert (claim.job.id, worker.claim()) == (job.id, None)
        worker.finish(claim)
