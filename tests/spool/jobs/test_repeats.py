"""A request that repeats another one gets its job, as long as that is the answer."""

from __future__ import annotations

import pytest

from spool.jobs.job import Job
from spool.jobs.repeats import Joins, Repeat
from spool.jobs.submission import Submitted
from spool.keys import prefix
from spool.redis.link import RedisLink
from tests.by_hand import HandWorker, age, new_job, shards_of, store_of

QUARTER_MS = 900_000


def send(link: RedisLink, joins: Joins, key: str = "k", owner: str = "alice") -> Submitted:
    """A submit of a request with this key."""
    new = shards_of(link).place(new_job(owner=owner, repeat=Repeat(key, joins)))
    return store_of(link).submit(new, max_queued=10)


def end(link: RedisLink, job: Job) -> None:
    """Run the job to its end."""
    worker = HandWorker(link)
    worker.finish(worker.take_job(job.id))


@pytest.mark.parametrize("joins", [Joins.RUNNING, Joins.RECENT])
def test_job_that_runs(link: RedisLink, joins: Joins) -> None:
    """A repeat gets the job that has not ended."""
    first = send(link, Joins.NONE)
    again = send(link, joins)
    assert (first.replayed, again.replayed) == (False, True)
    assert again.job.id == first.job.id


def test_first_tries_that_are_equal(link: RedisLink) -> None:
    """First tries make a job each, and a repeat gets the last one."""
    first, second = send(link, Joins.NONE), send(link, Joins.NONE)
    assert not second.replayed
    assert second.job.id != first.job.id
    assert send(link, Joins.RECENT).job.id == second.job.id


@pytest.mark.parametrize(("joins", "is_joined"), [(Joins.RUNNING, False), (Joins.RECENT, True)])
def test_job_that_has_ended(link: RedisLink, joins: Joins, is_joined: bool) -> None:
    """A job that has ended is the answer for a quarter of an hour, where the request says so."""
    first = send(link, Joins.NONE).job
    end(link, first)
    again = send(link, joins)
    assert (again.replayed, again.job.id == first.id) == (is_joined, is_joined)


def test_job_that_ended_long_ago(link: RedisLink) -> None:
    """After a quarter of an hour the request makes a new job."""
    first = send(link, Joins.NONE).job
    end(link, first)
    ended_at = store_of(link).look(first.id, first.owner).ended_at
    assert ended_at is not None
    age(link, first.id, ended_ms=int(ended_at * 1000) - QUARTER_MS - 1)
    again = send(link, Joins.RECENT)
    assert not again.replayed
    assert again.job.id != first.id


def test_repeat_without_a_first_try(link: RedisLink) -> None:
    """A repeat whose first try never arrived makes the job, and the next repeat gets it."""
    first = send(link, Joins.RECENT)
    assert not first.replayed
    assert send(link, Joins.RECENT).job.id == first.job.id


def test_submit_sent_twice(link: RedisLink) -> None:
    """A submit that is sent again after its answer was lost gets its own job, also if an equal request came between."""
    new = shards_of(link).place(new_job(repeat=Repeat("k", Joins.RECENT)))
    store_of(link).submit(new, max_queued=10)
    send(link, Joins.NONE)
    again = store_of(link).submit(new, max_queued=10)
    assert (again.replayed, again.job.id) == (False, new.id)


@pytest.mark.parametrize("other", [{"key": "other"}, {"owner": "bob"}], ids=["key", "owner"])
def test_another_request(link: RedisLink, other: dict[str, str]) -> None:
    """Another request, and the same one of another owner, gets a job of its own."""
    first = send(link, Joins.NONE)
    again = send(link, Joins.RECENT, **other)
    assert not again.replayed
    assert again.job.id != first.job.id


def test_deleted_job(link: RedisLink) -> None:
    """A deleted job is no answer."""
    first = send(link, Joins.NONE).job
    end(link, first)
    store_of(link).delete(first.id, first.owner)
    assert not send(link, Joins.RECENT).replayed


def test_key_outlives_the_job_by_a_quarter_of_an_hour(link: RedisLink) -> None:
    """The key expires a quarter of an hour after the job's deadline."""
    job = send(link, Joins.NONE).job
    shard = shards_of(link).of_job(job.id)
    left_ms = link.call("PTTL", shard.key("repeat:alice:k"))
    most = (job.deadline_at - job.created_at) * 1000 + QUARTER_MS
    assert most - 60_000 < left_ms <= most
    assert shard.key("").startswith(prefix(shard.number))


def test_job_that_was_cancelled(link: RedisLink) -> None:
    """A request that comes again after a cancel is wanted: it makes a job of its own."""
    first = send(link, Joins.RECENT).job
    store_of(link).cancel(first.id, first.owner)
    again = send(link, Joins.RECENT)
    assert not again.replayed
    assert again.job.id != first.id
