"""Jobs that versions before flows by tokens have queued, and processes of such a version beside this one."""

from __future__ import annotations

from spool.ids import new_batch_id
from spool.jobs.job import Priority
from spool.jobs.owner_limits import OwnerLimits
from spool.keys import job as job_key
from spool.keys import prefix
from spool.redis.link import RedisLink
from tests.by_hand import OWNER, HandWorker, keep, new_job, record, store_of, submit

P = prefix(0)


def as_older(link: RedisLink, *job_ids: str, batch: str = "") -> None:
    """Move the jobs from where this version queues them to where an older one does."""
    for job_id in job_ids:
        score, stored = link.call("ZSCORE", f"{P}pending:demo", job_id), record(link, job_id)
        owner, flow = stored["owner"], f"{stored['priority']}:{stored['owner']}:"
        link.call("ZREM", f"{P}flow:{flow}:demo", batch or job_id)
        link.call("DEL", f"{P}flow:{batch}:{flow}:demo") if batch else None
        if not link.call("EXISTS", f"{P}flow:{flow}:demo"):
            link.call("ZREM", f"{P}heads:{stored['priority']}:demo", flow)
        link.call("ZADD", f"{P}flow:{batch or owner}:demo", score, job_id)
        if batch:
            link.call("ZADD", f"{P}flow:{owner}:demo", "LT", score, batch)
        link.call("ZADD", f"{P}heads:demo", "LT", score, owner)


def older_keys(link: RedisLink) -> int:
    """How many keys of an older version's queue there are."""
    names = ("heads:demo", f"flow:{OWNER}:demo", "flow:bob:demo", "parked", f"parked:{OWNER}")
    return int(link.call("EXISTS", *(P + name for name in names)))


def test_queue_of_an_older_version_is_claimed(link: RedisLink) -> None:
    """A claim finds the jobs that an older version has queued, in their classes and each flow's order."""
    jobs = [submit(link, owner=owner, priority=priority).id for priority in Priority for owner in (OWNER, OWNER, "bob")]
    as_older(link, *jobs)
    worker = HandWorker(link)
    # The owners take turns.
    assert [jobs.index(worker.take().job.id) for _ in jobs] == [0, 2, 1, 3, 5, 4]
    assert older_keys(link) == 0


def test_batch_of_an_older_version_is_claimed(link: RedisLink) -> None:
    """The jobs of an older version's batch are found, in their order among the owner's others."""
    batch = new_batch_id(0)
    store = store_of(link)
    store.open_batch(batch, OWNER, 40, ttl_s=60, timeout_s=60)
    jobs = [job.job.id for job in store.submit_many([new_job(batch=batch) for _ in range(40)], max_queued=99)]
    last = submit(link).id
    as_older(link, *jobs, batch=batch)
    as_older(link, last)
    worker = HandWorker(link)
    assert [worker.take().job.id for _ in (*jobs, last)] == [*jobs, last]
    assert older_keys(link) == 0
    assert link.call("EXISTS", f"{P}flow:{batch}:demo") == 0


def test_job_that_ended_in_an_older_queue(link: RedisLink) -> None:
    """What an older version's queue still names, and what has ended or been claimed since, is not queued again."""
    jobs = [submit(link).id for _ in range(3)]
    as_older(link, *jobs)
    link.call("HSET", job_key(jobs[0]), "status", "cancelled")
    link.call("DEL", job_key(jobs[1]))
    worker = HandWorker(link)
    assert worker.take().job.id == jobs[2]
    assert worker.claim() is None


def test_owner_that_an_older_worker_parked(link: RedisLink) -> None:
    """The jobs of an owner that an older worker met at its limit are found after a round of the keeper."""
    store_of(link).publish_limits(OwnerLimits(running=2))
    jobs = [submit(link).id for _ in range(2)]
    as_older(link, *jobs)
    link.call("DEL", f"{P}heads:demo")
    link.call("SADD", f"{P}parked", OWNER)
    link.call("SADD", f"{P}parked:{OWNER}", "demo")
    worker = HandWorker(link)
    assert worker.claim() is None
    keep(link, lease_ms=60_000)
    assert [worker.take().job.id for _ in jobs] == jobs
    assert older_keys(link) == 0


def test_keeper_takes_over_an_older_queue(link: RedisLink) -> None:
    """The keeper moves an older version's queue, so that a long one does not hide the jobs of owners behind it."""
    jobs = [job.job.id for job in store_of(link).submit_many([new_job() for _ in range(300)], max_queued=999)]
    jobs.append(submit(link, owner="bob").id)
    as_older(link, *jobs)
    for _ in range(3):
        keep(link, lease_ms=60_000)
    assert older_keys(link) == 0
    worker = HandWorker(link)
    assert [worker.take().job.owner for _ in range(2)] == [OWNER, "bob"]
