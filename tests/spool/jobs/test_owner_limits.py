"""What one owner may have: running jobs wait, queued jobs and bytes are refused, and other owners notice nothing."""

from __future__ import annotations

import pytest

from spool.errors import OwnerBytesFull, OwnerQueueFull, QueueFull, StoreFull
from spool.jobs.job import Status
from spool.jobs.owner_limits import OwnerLimits, output_at_most
from spool.keys import job as job_key
from spool.keys import prefix
from spool.models.model import Model
from spool.redis.link import RedisLink
from tests.by_hand import OWNER, HandWorker, age, keep, new_job, restart, settle, store_of, submit, use

P = prefix(0)
FLOW = f"interactive:{OWNER}:"


def owners_of(worker: HandWorker, count: int) -> list[str]:
    """The owners of the next jobs that this worker gets, at most ``count``."""
    claims = [worker.claim() for _ in range(count)]
    return [claim.job.owner for claim in claims if claim is not None]


def test_running_jobs_at_the_limit_let_others_pass(link: RedisLink) -> None:
    """The jobs of an owner at its limit wait; those of others, submitted later, begin."""
    store_of(link).publish_limits(OwnerLimits(running=2))
    for owner in [OWNER] * 5 + ["bob"] * 3:
        submit(link, owner=owner)
    assert owners_of(HandWorker(link), 9) == [OWNER, "bob", OWNER, "bob"]


def test_one_begins_when_one_ends(link: RedisLink) -> None:
    """A job that ends, is cancelled or is handed back lets the owner's next one begin, in the order of submit."""
    store_of(link).publish_limits(OwnerLimits(running=1))
    worker, jobs = HandWorker(link), [submit(link).id for _ in range(4)]
    claim = worker.take()
    assert worker.claim() is None
    worker.finish(claim)
    claim = worker.take()
    assert (claim.job.id, worker.claim()) == (jobs[1], None)
    store_of(link).cancel(claim.job.id, OWNER)
    worker.beat(claim)
    claim = worker.take()
    assert (claim.job.id, worker.claim()) == (jobs[2], None)
    worker.claims.hand_back(claim.job.id, claim.fence, counts=False)
    assert worker.take().job.id == jobs[2]


def test_share_of_the_slots_that_there_are(link: RedisLink) -> None:
    """Without a number, an owner's limit is its share of the slots of all workers that live, and at least one."""
    store_of(link).publish_limits(OwnerLimits(share=0.75))
    worker = HandWorker(link)
    worker.claims._slots = 4
    worker.beat(free=4)
    for _ in range(6):
        submit(link)
    assert len(owners_of(worker, 9)) == 3
    worker.claims._slots = 6
    worker.beat(free=6)
    keep(link, lease_ms=60_000)
    assert len(owners_of(worker, 9)) == 1


def test_raised_limit_holds_at_the_next_round(link: RedisLink) -> None:
    """An owner that was met at its limit comes back within a round of the keeper where the limit is raised."""
    store, worker = store_of(link), HandWorker(link)
    store.publish_limits(OwnerLimits(running=1))
    for _ in range(3):
        submit(link)
    assert len(owners_of(worker, 3)) == 1
    store.publish_limits(OwnerLimits(running=2))
    keep(link, lease_ms=60_000)
    assert len(owners_of(worker, 3)) == 1


def test_claim_past_a_crowd_at_its_limit(link: RedisLink) -> None:
    """Behind any number of jobs of one owner at its limit, one claim finds the job of another."""
    store_of(link).publish_limits(OwnerLimits(running=1))
    for _ in range(10):
        store_of(link).submit_many([new_job() for _ in range(200)], max_queued=10_000)
    other = submit(link, owner="bob")
    worker = HandWorker(link)
    worker.take()
    assert worker.take().job.id == other.id


def test_many_owners_at_their_limit(link: RedisLink) -> None:
    """Behind any number of owners at their limits, too."""
    store_of(link).publish_limits(OwnerLimits(running=1))
    worker = HandWorker(link)
    owners = [f"o{n}" for n in range(50)]
    for owner in owners * 2:
        submit(link, owner=owner)
    other = submit(link, owner="bob")
    assert owners_of(worker, 50) == owners
    assert worker.take().job.id == other.id
    assert worker.claim() is None
    assert link.call("ZCARD", f"{P}heads:interactive:demo") == 0


def test_queued_jobs_of_an_owner(link: RedisLink) -> None:
    """Beyond its own limit an owner's submit is refused as its own; another's is not; beyond that of all, anybody's."""
    store, limits = store_of(link), OwnerLimits(queued=2)
    for _ in range(2):
        store.submit(new_job(), max_queued=3, limits=limits)
    with pytest.raises(OwnerQueueFull):
        store.submit(new_job(), max_queued=3, limits=limits)
    store.submit(new_job(owner="bob"), max_queued=3, limits=limits)
    with pytest.raises(QueueFull):
        store.submit(new_job(owner="bob"), max_queued=3, limits=limits)
    HandWorker(link).take()
    store.submit(new_job(), max_queued=3, limits=limits)


def test_bytes_of_an_owner(link: RedisLink) -> None:
    """What an owner's jobs take and will write counts until they are deleted."""
    store, limits = store_of(link), OwnerLimits(bytes=60_000)
    big = {"messages": [{"role": "user", "content": "x" * 20_000}], "params": {"max_tokens": 1}}
    job = store.submit(new_job(input=big), max_queued=9, limits=limits).job
    store.submit(new_job(input=big), max_queued=9, limits=limits)
    with pytest.raises(OwnerBytesFull):
        store.submit(new_job(input=big), max_queued=9, limits=limits)
    store.submit(new_job(input=big, owner="bob"), max_queued=9, limits=limits)
    store.cancel(job.id, OWNER)
    with pytest.raises(OwnerBytesFull):
        store.submit(new_job(input=big), max_queued=9, limits=limits)
    store.delete(job.id, OWNER)
    store.submit(new_job(input=big), max_queued=9, limits=limits)


def test_end_settles_what_was_expected(link: RedisLink) -> None:
    """A job's end replaces what it was expected to write by what it takes, and the model's average follows."""
    worker = HandWorker(link)
    submit(link)
    assert use(link)["expected"] > 10_000
    claim = worker.take()
    assert (use(link)["expected"], use(link)["writing"] > 0) == (0, True)
    worker.say(claim, "word")
    worker.finish(claim)
    found, key = use(link), job_key(claim.job.id)
    parts = [int(link.call("MEMORY", "USAGE", f"{key}:{name}")) for name in ("input", "log", "text")]
    assert (found["queued"], found["running"], found["expected"], found["writing"]) == (0, 0, 0, 0)
    assert 0 < found["bytes"] - sum(parts) < 5000
    submit(link, owner="bob")
    assert use(link, "bob")["expected"] < 10_000


def test_nothing_is_left_of_an_owner_without_jobs(link: RedisLink) -> None:
    """Deleted and expired jobs leave the ledger, and an owner without jobs has no key there."""
    store, worker = store_of(link), HandWorker(link)
    first, second = submit(link), submit(link)
    for _ in range(2):
        worker.finish(worker.take())
    store.delete(first.id, OWNER)
    link.call("DEL", job_key(second.id))
    link.call("ZADD", f"{P}kept", 1, f"{OWNER} {second.id}")
    keep(link, lease_ms=60_000)
    assert link.call("EXISTS", f"{P}ledger") == 0


def test_record_that_vanished_is_swept_from_the_ledger(link: RedisLink) -> None:
    """A job whose record is gone, although nothing of Spool's has ended it, stops counting against its owner."""
    job = submit(link)
    link.call("DEL", job_key(job.id))
    keep(link, lease_ms=60_000)
    assert use(link) == {}
    assert HandWorker(link).claim() is None


def test_queued_jobs_of_an_older_version(link: RedisLink) -> None:
    """Jobs that were queued before there were flows and a ledger are found, and counted, within a few rounds."""
    jobs = [submit(link).id for _ in range(3)]
    link.call("DEL", f"{P}ledger", f"{P}heads:interactive:demo", f"{P}flow:{FLOW}:demo")
    worker = HandWorker(link)
    assert worker.claim() is None
    keep(link, lease_ms=60_000)
    assert use(link)["queued"] == 3
    assert [worker.take().job.id for _ in jobs] == jobs


def test_job_that_an_older_worker_took(link: RedisLink) -> None:
    """A worker of an older version claims past the flows; the entry that it leaves there stops no claim."""
    job, other = submit(link), submit(link)
    link.call("ZREM", f"{P}pending:demo", job.id)
    link.call("HSET", job_key(job.id), "status", "running")
    assert HandWorker(link).take().job.id == other.id


def test_memory_that_accepted_jobs_will_write(link: RedisLink) -> None:
    """A submit is refused where what is accepted, and this job, would bring Redis above the watermark."""
    store, limits = store_of(link), OwnerLimits(watermark=0.5)
    keep(link, lease_ms=60_000)
    used = int(link.call("HGET", f"{P}memory", "used"))
    link.call("HSET", f"{P}memory", "max", 2 * (used + 100_000))
    store.submit(new_job(), max_queued=99, limits=limits)
    with pytest.raises(StoreFull):
        store.submit(new_job(input={"messages": ["x" * 100_000]}), max_queued=99, limits=limits)
    with pytest.raises(StoreFull):
        store.submit(new_job(input={"params": {"max_tokens": 1000}}), max_queued=99, limits=limits)
    store.submit(new_job(input={"params": {"max_tokens": 1}}), max_queued=99, limits=limits)


def test_claims_stop_before_the_memory_is_full(link: RedisLink) -> None:
    """No job begins whose output might not fit below maxmemory; it waits, and begins once there is room."""
    store_of(link).publish_limits(OwnerLimits(watermark=0.9))
    job = submit(link)
    keep(link, lease_ms=60_000)
    used = int(link.call("HGET", f"{P}memory", "used"))
    link.call("HSET", f"{P}memory", "max", used + 2000, "claims_until", used + 1000)
    assert HandWorker(link).claim() is None
    assert store_of(link).look(job.id, OWNER).status is Status.QUEUED
    link.call("HSET", f"{P}memory", "max", 2 * used + 10_000_000, "claims_until", 2 * used + 9_000_000)
    assert HandWorker(link).take().job.id == job.id


def test_ledger_survives_a_lost_worker_and_a_restart(link: RedisLink) -> None:
    """A job that is queued again counts as queued, once; one that is claimed after a restart of Redis, as running."""
    job, worker = submit(link), HandWorker(link)
    worker.take()
    age(link, job.id, leased_until_ms=1)
    keep(link)
    assert (use(link)["queued"], use(link)["running"]) == (1, 0)
    restart(link)
    settle(link)
    worker.take()
    assert (use(link)["queued"], use(link)["running"]) == (0, 1)


@pytest.mark.parametrize(
    ("params", "bounded"),
    [({}, False), ({"max_tokens": 5}, True), ({"tokens": 3}, True), ({"max_tokens": "x"}, False)],
)
def test_bound_of_an_output(params: dict[str, object], bounded: bool) -> None:
    """Only a number of tokens bounds an output."""
    assert (output_at_most(params, None) > 0) == bounded


def test_bound_of_an_output_is_bounded() -> None:
    """A caller's number counts up to a limit, and the smallest of several counts."""
    assert output_at_most({"max_tokens": 10**30}, None) < 10**9
    assert output_at_most({"max_tokens": 1000, "tokens": 10}, None) == output_at_most({"tokens": 10}, None)


SMALL = Model(name="other", backend="openai")
KEYS = ["heads:interactive:demo", f"flow:{FLOW}:demo", f"virtual:{FLOW}", "clock", "output-tokens", "retries:demo"]
KEYS += ["held", f"held:{OWNER}", f"held:{OWNER}:interactive:demo", "batch-running:demo"]
KEYS += ["ledger", "booked", "use", "limits", "memory", "capacity", "output-bytes", "staging"]


@pytest.mark.parametrize("name", KEYS)
@pytest.mark.parametrize("what", ["gone", "a string", "a list"])
def test_key_of_the_ledger_or_queue_is_damaged(link: RedisLink, name: str, what: str) -> None:
    """Whatever stands in the place of such a key, within some rounds all jobs are found and counted again."""
    store, worker = store_of(link), HandWorker(link)
    store.publish_limits(OwnerLimits(running=1))
    jobs = [submit(link).id for _ in range(3)]
    running = worker.take()
    assert worker.claim() is None
    link.call("DEL", P + name)
    if what != "gone":
        link.call(*(("SET", P + name, "x") if what == "a string" else ("RPUSH", P + name, "x")))
    worker.finish(running)
    store.publish_limits(OwnerLimits(running=1))
    for _ in range(4):
        link.call("HDEL", f"{P}keeper", "adopted_ms")
        worker.beat(free=1)
        assert worker.claim(SMALL) is None
        keep(link, lease_ms=60_000)
    found = []
    for _ in jobs[1:]:
        keep(link, lease_ms=60_000)
        found.append(worker.take())
        worker.finish(found[-1])
    assert [claim.job.id for claim in found] == jobs[1:]
    keep(link, lease_ms=60_000)
    assert (use(link)["queued"], use(link)["running"]) == (0, 0)
    for job_id in jobs:
        store.delete(job_id, OWNER)
    assert use(link) == {}
