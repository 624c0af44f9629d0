"""Shards: ids name them, keys lead to them, and what spans them is merged."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from spool.errors import BatchNotFound, JobNotFound, OwnerQueueFull, QueueFull
from spool.ids import new_batch_id, new_job_id, shard_of
from spool.jobs.claims import Claims, Held, new_fence
from spool.jobs.conversation_blocks import divide
from spool.jobs.job import Status
from spool.jobs.owner_limits import NO_LIMITS, OwnerLimits
from spool.jobs.owner_list import JobPage
from spool.jobs.shards import Shards
from spool.jobs.store import JobStore
from spool.models.model import DEMO
from spool.redis.link import RedisLink
from tests.by_hand import OWNER, new_job

SHARDS = Shards.on(RedisLink("unix:///nowhere"), 3)
LONG = [{"role": "user", "content": "x" * 5000}, {"role": "assistant", "content": "y"}]


@pytest.mark.parametrize(
    "job_id", ["", "x", "j0", "j3-" + "0" * 26, "b0-" + "0" * 26, "j-1-" + "0" * 26, "j٠-" + "0" * 26]
)
def test_invalid_job_id(job_id: str) -> None:
    """An id that this installation never gave out is no job, on no shard."""
    with pytest.raises(JobNotFound):
        SHARDS.of_job(job_id)
    assert SHARDS.by_shard([job_id]) == {}


@pytest.mark.parametrize("batch_id", ["", "b0", "b3-" + "0" * 26, "j0-" + "0" * 26])
def test_invalid_batch_id(batch_id: str) -> None:
    """The same holds for batches."""
    with pytest.raises(BatchNotFound):
        SHARDS.of_batch(batch_id)


@pytest.mark.parametrize("number", range(3))
def test_id_leads_to_its_shard(number: int) -> None:
    """A job and a batch are on the shard that their ids name."""
    assert SHARDS.of_job(new_job_id(number)).number == SHARDS.of_batch(new_batch_id(number)).number == number


def test_key_leads_to_one_shard_in_every_process() -> None:
    """The shard of an owner's key never changes; other owners and keys have others."""
    assert [SHARDS.of_key("alice", f"key {n}").number for n in range(8)] == [2, 0, 1, 1, 0, 1, 1, 2]
    assert len({SHARDS.of_key(f"owner {n}", "key").number for n in range(20)}) == 3


def test_jobs_without_a_key_take_turns() -> None:
    """They are spread evenly."""
    placed = Counter(shard_of(SHARDS.place(new_job()).id) for _ in range(30))
    assert placed == {0: 10, 1: 10, 2: 10}


def test_jobs_with_the_same_key_share_a_shard() -> None:
    """A job lies on the shard of its Idempotency-Key, its chat, or the beginning of its conversation, in this order."""
    keyed = {"idempotency_key": "key 4"}, {"idempotency_key": "key 4", "chat": "key 3"}, {"chat": "key 4"}
    assert [shard_of(SHARDS.place(new_job(**fields)).id) for fields in keyed] == [0, 0, 0]
    divided = divide(LONG)
    longer = divide([*LONG, *LONG])
    assert len(longer.blocks) > len(divided.blocks)
    first = shard_of(SHARDS.place(new_job(divided=divided)).id)
    assert {shard_of(SHARDS.place(new_job(divided=longer)).id) for _ in range(6)} == {first}


def test_batch_and_its_jobs_share_a_shard() -> None:
    """All jobs of a batch lie on the batch's shard, which is that of its Idempotency-Key."""
    batches = [SHARDS.place_batch("alice", "") for _ in range(3)]
    assert {shard_of(batch) for batch in batches} == {0, 1, 2}
    for batch in batches:
        jobs = [SHARDS.place(new_job(batch=batch, idempotency_key=f"key {n}")) for n in range(4)]
        assert {shard_of(job.id) for job in jobs} == {shard_of(batch)}
    assert shard_of(SHARDS.place_batch("alice", "key 4")) == 0


def test_parts_of_a_limit() -> None:
    """A limit is divided among the shards and rounded up, so that no shard gets nothing; no limit stays none."""
    assert [SHARDS.part(limit) for limit in (0, 1, 3, 4, 100)] == [0, 1, 1, 2, 34]
    assert Shards.on(RedisLink("unix:///nowhere")).part(7) == 7


def test_each_pass_begins_with_another_shard() -> None:
    """Every shard comes first equally often."""
    passes = [[shard.number for shard in SHARDS.in_turn()] for _ in range(6)]
    assert sorted(order[0] for order in passes) == [0, 0, 1, 1, 2, 2]
    assert all(sorted(order) == [0, 1, 2] for order in passes)


def listed(store: JobStore, limit: int) -> list[str]:
    """The ids of all of alice's jobs, read by pages of ``limit``."""
    found: list[str] = []
    page = JobPage([], None)
    while True:
        page = store.newest(OWNER, status=None, limit=limit, cursor=page.cursor)
        found += [job.id for job in page.jobs]
        if page.cursor is None:
            return found


@pytest.mark.parametrize("limit", [1, 2, 7, 200])
def test_list_of_an_owner(link: RedisLink, limit: int) -> None:
    """A list is merged from all shards, newest first, each job once, also where pages end between equal scores."""
    shards = Shards.on(link, 3)
    store = JobStore(shards)
    jobs = [store.submit(shards.place(new_job()), max_queued=100, limits=NO_LIMITS).job for _ in range(9)]
    for at, job in enumerate(jobs):
        shard = shards.of_job(job.id)
        # Three jobs on three shards have the same score.
        link.call("ZADD", shard.key(f"owner:{OWNER}"), "XX", 1_000_000 + at // 3, job.id)
    found = listed(store, limit)
    assert sorted(found) == sorted(job.id for job in jobs)
    assert [{*found[at : at + 3]} for at in (0, 3, 6)] == [{job.id for job in jobs[at : at + 3]} for at in (6, 3, 0)]


def test_foreign_names_in_a_list(link: RedisLink) -> None:
    """Something that is no id hides no job of the list."""
    shards = Shards.on(link, 2)
    store = JobStore(shards)
    job = store.submit(shards.place(new_job()), max_queued=9).job
    for shard in shards:
        link.call("ZADD", shard.key(f"owner:{OWNER}"), 5e15, "no id")
    assert listed(store, 50) == [job.id]


def test_newest_job_of_a_chat_on_any_shard(link: RedisLink) -> None:
    """A chat's newest job is found also where an Idempotency-Key placed it elsewhere."""
    shards = Shards.on(link, 2)
    store = JobStore(shards)
    keys = ["key 1", "key 4"]
    assert {shards.of_key(OWNER, key).number for key in keys} == {0, 1}
    for at, key in enumerate(keys * 2):
        new = shards.place(new_job(chat="chat", idempotency_key=key, body_digest=f"{at}"))
        job = store.submit(replace(new, idempotency_key=f"{key} {at}"), max_queued=9).job
        link.call("HSET", shards.of_job(job.id).key(f"job:{job.id}"), "created_ms", 1_000_000_000_000 + at)
        newest = store.newest_of_chat("chat", OWNER)
        assert newest is not None
        assert newest.id == job.id
    store.cancel(job.id, OWNER)
    store.delete(job.id, OWNER)
    newest = store.newest_of_chat("chat", OWNER)
    assert newest is None or newest.status is Status.QUEUED


def test_limits_are_divided(link: RedisLink) -> None:
    """Each shard gets its part of every limit: of queued jobs, of an owner's, and of a model's running jobs."""
    shards = Shards.on(link, 2, first=0)
    store, claims = JobStore(shards), Claims(shards, worker="w", lease_s=10, max_attempts=3)
    for _ in range(4):
        store.submit(shards.place(new_job()), max_queued=4)
    for _ in range(2):
        with pytest.raises(QueueFull):
            store.submit(shards.place(new_job()), max_queued=4)
    with pytest.raises(OwnerQueueFull):
        store.submit(shards.place(new_job()), max_queued=9, limits=OwnerLimits(queued=4))
    store.publish_limits(OwnerLimits(running=4, share=0.5, watermark=0.9))
    for shard in shards:
        stored = link.call("HMGET", shard.key("limits"), "owner_running", "owner_share", "watermark")
        assert stored == [b"2", b"0.25", b"0.9"]
        claimed = [claims.claim(shard, [replace(DEMO, max_running=2)], new_fence()) for _ in range(2)]
        assert [claim is not None for claim in claimed] == [True, False]


def test_beat_for_jobs_of_all_shards(link: RedisLink) -> None:
    """One beat renews the leases on every shard, reports the worker to each, and pairs each job with its answer."""
    shards = Shards.on(link, 2, first=0)
    store, claims = JobStore(shards), Claims(shards, worker="w", lease_s=10, max_attempts=3)
    for _ in range(4):
        store.submit(shards.place(new_job()), max_queued=9)
    held = []
    for shard in [*shards, *shards]:
        claim = claims.claim(shard, [DEMO], new_fence())
        assert claim is not None
        held.append(Held(claim.job.id, claim.fence, claim.first - 1))
    store.cancel(held[1].job_id, OWNER)
    beat = claims.heartbeat(held, free=3, server="")
    assert dict(beat.answers) == {held[0]: b"ok", held[1]: b"cancelled", held[2]: b"ok", held[3]: b"ok"}
    assert [link.call("HGET", shard.key("slots"), "w") for shard in shards] == [b"3", b"3"]
    again = claims.heartbeat(held, free=3, server=beat.server)
    assert (again.server, again.answers[0][1]) == (beat.server, b"whole")


def test_set_aside_jobs_are_summed(link: RedisLink) -> None:
    """The number of jobs that are set aside is that of all shards."""
    shards = Shards.on(link, 2)
    for number, shard in enumerate(shards):
        link.call("HSET", shard.key("set-aside"), *(f"job {n}" for n in range(2 * (number + 1))))
    assert JobStore(shards).set_aside() == 3
