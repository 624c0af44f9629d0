"""Jobs as their owners see them: look, list, cancel, delete."""

from __future__ import annotations

import pytest

from spool.errors import BatchNotFound, JobGone, JobNotEnded, JobNotFound, UndecodableRecord
from spool.ids import new_batch_id, new_job_id
from spool.jobs.job import Status
from spool.jobs.store import JobStore
from spool.keys import job as job_key
from spool.keys import prefix
from spool.redis.link import RedisLink
from tests.by_hand import OWNER, HandWorker, new_job, store_of, submit


@pytest.fixture
def store(link: RedisLink) -> JobStore:
    """A store on an empty Redis."""
    return store_of(link)


def all_pages(store: JobStore, limit: int, status: Status | None = None, batch: str | None = None) -> list[str]:
    """The ids of all pages, one after the other."""
    seen: list[str] = []
    cursor = None
    while True:
        page = store.newest(OWNER, status=status, limit=limit, cursor=cursor, batch=batch)
        assert len(page.jobs) <= limit
        seen += [job.id for job in page.jobs]
        cursor = page.cursor
        if cursor is None:
            return seen


@pytest.mark.one_shard
def test_look_with_position_and_text(link: RedisLink, store: JobStore) -> None:
    """A queued job shows its place among those of its model, a running one its text."""
    first, second = submit(link), submit(link)
    assert [store.look(job.id, OWNER).queue_position for job in (first, second)] == [0, 1]
    worker = HandWorker(link)
    worker.say(worker.take(), "so ", "far")
    running = store.look(first.id, OWNER, with_text=True)
    assert (running.queue_position, running.text) == (None, "so far")
    assert store.look(first.id, OWNER).text == ""
    assert store.look(second.id, OWNER).queue_position == 0


def test_look_at_what_is_not_there(link: RedisLink, store: JobStore) -> None:
    """A job that never was, another owner's and what is no id are all missing."""
    theirs = submit(link, owner="bob")
    for job_id in (new_job_id(0), theirs.id, new_job_id(7), new_batch_id(0), "x"):
        with pytest.raises(JobNotFound) as caught:
            store.look(job_id, OWNER)
        assert not isinstance(caught.value, JobGone)


@pytest.mark.one_shard
def test_record_with_another_id(link: RedisLink, store: JobStore) -> None:
    """It is damaged, and the job ends: no log is looked for under an id that the caller did not name."""
    looked_at, claimed, other = submit(link), submit(link), submit(link)
    for job, wrong in ((looked_at, "7"), (claimed, other.id)):
        link.call("HSET", job_key(job.id), "id", wrong)
    found = store.look(looked_at.id, OWNER)
    assert (found.id, found.status) == (looked_at.id, Status.FAILED)
    with pytest.raises(UndecodableRecord):
        HandWorker(link).take()
    assert HandWorker(link).take().job.id == other.id
    assert store.look(claimed.id, OWNER).status is Status.FAILED


def test_look_at_many(link: RedisLink, store: JobStore) -> None:
    """Of several jobs those are found that are there and the owner's."""
    mine, theirs = submit(link), submit(link, owner="bob")
    assert [job.id for job in store.look_many([mine.id, theirs.id, new_job_id(0)], OWNER)] == [mine.id]
    assert store.look_many([], OWNER) == []


def test_newest_first(link: RedisLink, store: JobStore) -> None:
    """A list is newest first, and holds the owner's jobs alone."""
    mine = [submit(link).id for _ in range(5)]
    submit(link, owner="bob")
    page = store.newest(OWNER, status=None, limit=50, cursor=None)
    assert ([job.id for job in page.jobs], page.cursor) == (mine[::-1], None)


@pytest.mark.parametrize("limit", [1, 2, 7, 200])
def test_newest_page_by_page(store: JobStore, limit: int) -> None:
    """Pages together hold each job once, in order, whatever their size."""
    news = [new_job() for _ in range(130)]
    store.submit_many(news, max_queued=1000)
    assert all_pages(store, limit) == [new.id for new in reversed(news)]


def test_newest_while_jobs_come_and_go(link: RedisLink, store: JobStore) -> None:
    """A job that comes between two pages does not move the next page, and one that goes leaves no hole."""
    ids = [submit(link).id for _ in range(6)]
    page = store.newest(OWNER, status=None, limit=3, cursor=None)
    submit(link)
    store.cancel(ids[1], OWNER)
    store.delete(ids[1], OWNER)
    rest = store.newest(OWNER, status=None, limit=3, cursor=page.cursor)
    assert [job.id for job in page.jobs + rest.jobs] == [ids[5], ids[4], ids[3], ids[2], ids[0]]


def test_newest_by_status_and_batch(link: RedisLink, store: JobStore) -> None:
    """A list can be of one state, or of one batch, page by page as well."""
    batch = new_batch_id(0)
    store.open_batch(batch, OWNER, 3, ttl_s=60, timeout_s=60)
    in_batch = [new_job(batch=batch, batch_index=n) for n in range(3)]
    store.submit_many(in_batch, max_queued=100)
    others = [submit(link).id for _ in range(3)]
    store.cancel(others[1], OWNER)
    assert all_pages(store, 1, status=Status.CANCELLED) == [others[1]]
    assert all_pages(store, 1, batch=batch) == [new.id for new in reversed(in_batch)]
    assert all_pages(store, 2, status=Status.CANCELLED, batch=batch) == []


def test_newest_looks_at_a_bounded_number(store: JobStore) -> None:
    """A page that finds nothing among many jobs ends early, with a cursor to go on from."""
    for _ in range(21):
        store.submit_many([new_job() for _ in range(100)], max_queued=10_000)
    page = store.newest(OWNER, status=Status.FAILED, limit=10, cursor=None)
    assert page.jobs == []
    assert page.cursor is not None
    assert store.newest(OWNER, status=Status.FAILED, limit=10, cursor=page.cursor).cursor is None


def test_newest_without_expired_jobs(link: RedisLink, store: JobStore) -> None:
    """A job whose record has expired is not listed, before the keeper has come by as well."""
    kept, expired = submit(link), submit(link)
    link.call("DEL", job_key(expired.id))
    assert all_pages(store, 10) == [kept.id]


def test_cancel_a_queued_job(link: RedisLink, store: JobStore) -> None:
    """A queued job ends at once."""
    job = store.cancel(submit(link).id, OWNER)
    assert (job.status, job.last_entry, job.ended_at is not None) == (Status.CANCELLED, 1, True)


def test_cancel_a_running_job(link: RedisLink, store: JobStore) -> None:
    """A running job is flagged, and goes on until its worker hears of it."""
    submit(link)
    claim = HandWorker(link).take()
    first = store.cancel(claim.job.id, OWNER)
    assert first.status == Status.RUNNING
    assert first.cancel_requested_at is not None
    assert store.cancel(claim.job.id, OWNER).cancel_requested_at == first.cancel_requested_at


def test_cancel_another_owners_job(link: RedisLink, store: JobStore) -> None:
    """Another owner's job is missing, and goes on."""
    theirs = submit(link, owner="bob")
    with pytest.raises(JobNotFound):
        store.cancel(theirs.id, OWNER)
    store.cancel_many([theirs.id], OWNER)
    assert store.look(theirs.id, "bob").status == Status.QUEUED


@pytest.mark.one_shard
def test_delete_leaves_a_tombstone_alone(link: RedisLink, store: JobStore) -> None:
    """Of a deleted job nothing is left but its tombstone, its share of its owner's usage, its flow's virtual time for
    an hour, and until the next round of the keeper the line for the log."""
    job = submit(link, idempotency_key="k", body_digest="d")
    store.cancel(job.id, OWNER)
    store.delete(job.id, OWNER)
    keys = {key.decode() for key in link.call("KEYS", "*") if b":usage" not in key}
    queue = {f"{prefix(0)}{name}" for name in ("seq", "models", "clock", "told", f"virtual:interactive:{OWNER}:")}
    assert keys == {f"{job_key(job.id)}:gone", *queue}
    with pytest.raises(JobGone):
        store.look(job.id, OWNER)
    with pytest.raises(JobGone):
        store.delete(job.id, OWNER)


def test_delete_what_cannot_be(link: RedisLink, store: JobStore) -> None:
    """A job that runs is refused, another owner's and one that never was are missing."""
    running, theirs = submit(link), submit(link, owner="bob")
    with pytest.raises(JobNotEnded):
        store.delete(running.id, OWNER)
    for job_id in (theirs.id, new_job_id(0)):
        with pytest.raises(JobNotFound):
            store.delete(job_id, OWNER)
    store.cancel(theirs.id, "bob")
    store.delete(theirs.id, "bob")
    with pytest.raises(JobNotFound) as caught:
        store.look(theirs.id, OWNER)
    assert not isinstance(caught.value, JobGone)


def test_batch_of_another_owner(store: JobStore) -> None:
    """Another owner's batch, one that never was and a job's id are no batches."""
    batch = new_batch_id(0)
    store.open_batch(batch, "bob", 1, ttl_s=60, timeout_s=60)
    for batch_id in (batch, new_batch_id(0), new_batch_id(3), new_job_id(0), "x"):
        with pytest.raises(BatchNotFound):
            store.batch(batch_id, OWNER)
