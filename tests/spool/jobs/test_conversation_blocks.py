"""Blocks: what conversations have in common is stored once for an owner, as long as a job needs it."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from spool.errors import BatchNotFound, JobGone, OwnerBytesFull, UndecodableRecord
from spool.ids import new_batch_id
from spool.jobs.conversation_blocks import BLOCK_BYTES, Divided, answered, divide, join
from spool.jobs.job import Job, NewJob, Status
from spool.jobs.owner_limits import OwnerLimits
from spool.jobs.scripts import script
from spool.jobs.store import JobStore
from spool.jobs.submission import NewBatch
from spool.keys import job as job_key
from spool.keys import prefix
from spool.models.model import DEMO
from spool.redis.link import RedisLink
from tests.by_hand import OWNER, HandWorker, keep, new_job, record, store_of, submit, use
from tests.contents import contents

P = prefix(0)


def said(role: str, text: str) -> dict[str, str]:
    """One message."""
    return {"role": role, "content": text}


def long(text: str) -> dict[str, str]:
    """A message that fills a block."""
    return said("user", text + "x" * BLOCK_BYTES)


def turn(earlier: list[dict[str, str]], asked: dict[str, str], **fields: Any) -> NewJob:
    """A job that goes on from these messages."""
    return new_job(input={"messages": [*earlier, asked], "params": {}}, divided=divide(earlier), **fields)


class Chain:
    """Turns of one conversation, each of which goes on from the one before."""

    def __init__(self, link: RedisLink, owner: str = OWNER) -> None:
        self.store, self.worker, self.owner = store_of(link), HandWorker(link), owner
        self.messages: list[dict[str, str]] = []
        self.jobs: list[str] = []

    def add(self, text: str, answer: str = "answer") -> Job:
        """One more turn, which ends."""
        asked = said("user", text)
        job = self.store.submit(turn(self.messages, asked, owner=self.owner), max_queued=9).job
        claim = self.worker.take_job(job.id)
        assert claim.input["messages"] == [*self.messages, asked]
        self.worker.say(claim, answer)
        self.worker.finish(claim)
        self.messages += [asked, said("assistant", answer)]
        self.jobs.append(job.id)
        return job


def blocks_of(link: RedisLink, owner: str = "*") -> list[str]:
    """The names of the blocks, and of what belongs to them."""
    return sorted(key.decode() for key in link.call("KEYS", f"{P}block*:{owner}:*"))


def memory(link: RedisLink) -> int:
    """What the keys take, in bytes. The server's own total also has buffers, and what another test has left."""
    keys = link.call("KEYS", "*")
    return sum(size or 0 for size in link.pipeline([("MEMORY", "USAGE", key, "SAMPLES", 0) for key in keys]))


def forget_now(link: RedisLink, job_id: str) -> None:
    """Let a job that has ended expire, as far as its keys and the keeper are concerned."""
    before = link.call("HGET", job_key(job_id), "before")
    link.call("DEL", *(job_key(job_id) + suffix for suffix in ("", ":input", ":log", ":text")))
    link.call("ZADD", f"{P}kept", "XX", 1, f"{OWNER} {job_id}")
    if before:
        name = f"{OWNER}:{before.decode()}"
        link.call("ZADD", f"{P}block-users:{name}", "XX", 1, job_id)
        link.call("ZADD", f"{P}kept", "XX", 1, f"{OWNER} block:{name}")
    keep(link, lease_ms=60_000)


def test_division_depends_on_the_beginning_alone() -> None:
    """Conversations that begin alike have the same blocks, however many of their messages are earlier turns."""
    messages = [long("a"), said("assistant", "b"), long("c"), said("user", "d"), long("e"), said("user", "f")]
    blocks = divide(messages).blocks
    assert [len(orjson.loads(block.messages)) for block in blocks] == [1, 2, 2]
    for earlier, count in ((0, 0), (1, 1), (2, 1), (3, 2), (4, 2), (5, 3), (6, 3)):
        assert divide(messages[:earlier]) == Divided(blocks[:count], (0, 1, 3, 5)[count])
    assert divide([said("user", "other"), *messages]).blocks[-1].digest != blocks[-1].digest


def test_blocks_join_to_the_very_conversation() -> None:
    """Blocks give their messages again; where one is missing, is another, or stands elsewhere, they give none."""
    messages = [long(str(number)) for number in range(3)]
    blocks = divide(messages).blocks
    texts = [block.messages for block in reversed(blocks)]
    assert join(blocks[-1].digest, texts) == messages
    for wrong in (texts[1:], texts[:2], texts[::-1], [texts[0], b"[]", texts[2]], []):
        with pytest.raises(ValueError, match="missing or damaged"):
            join(blocks[-1].digest, wrong)


@pytest.mark.parametrize(("roles", "count"), [("", 0), ("u", 0), ("ua", 2), ("uau", 2), ("uatatu", 4), ("auu", 1)])
def test_earlier_turns_of_a_whole_conversation(roles: str, count: int) -> None:
    """What a client sends again each time are the messages up to the assistant's last one."""
    names = {"u": "user", "a": "assistant", "t": "tool"}
    assert len(answered([said(names[role], "x") for role in roles])) == count


def test_chain_of_turns_keeps_each_turn_once(link: RedisLink) -> None:
    """What 100 turns of 5 KB keep grows with their number, and not with its square (which is 25 MB)."""
    chain = Chain(link)
    chain.add("first")
    before = memory(link)
    for number in range(50):
        chain.add(f"{number:04} " + "x" * 5000)
    half = memory(link) - before
    for number in range(50, 100):
        chain.add(f"{number:04} " + "x" * 5000)
    whole = memory(link) - before
    assert whole < 2_000_000
    assert whole < 2.2 * half


def test_chain_of_short_turns(link: RedisLink) -> None:
    """Short turns are stored together: a job has less than a block's length of earlier turns for itself."""
    chain = Chain(link)
    for number in range(120):
        chain.add(f"turn {number}", "word " * 20)
    inputs = [link.call("STRLEN", f"{job_key(job)}:input") for job in chain.jobs]
    assert max(inputs) < BLOCK_BYTES + 500
    assert len(blocks_of(link)) < 2 * 120 * 200 / BLOCK_BYTES + 2


def test_conversation_goes_on_without_any_earlier_job(link: RedisLink) -> None:
    """Whichever earlier job is deleted or has expired, the later ones keep the whole conversation, and go on."""
    for gone in (0, 1, 2):
        for forget in (lambda job, store: store.delete(job, OWNER), lambda job, _store: forget_now(link, job)):
            link.call("FLUSHALL")
            chain = Chain(link)
            for number in range(4):
                chain.add(f"{number}" + "x" * 5000)
            forget(chain.jobs[gone], chain.store)
            keep(link, lease_ms=60_000)
            assert chain.store.input_of(chain.jobs[3])["messages"] == chain.messages[:7]
            chain.add("and?")
            with pytest.raises(JobGone):
                chain.store.look(chain.jobs[gone], OWNER)


@pytest.mark.parametrize("is_deleted", [True, False])
def test_text_is_gone_with_its_last_user(link: RedisLink, *, is_deleted: bool) -> None:
    """Once all jobs of a conversation are deleted, or have expired, nothing of its text is left, in whatever order."""
    chain = Chain(link)
    for number in range(5):
        chain.add(f"secret {number}" + "x" * 5000)
    for job in (chain.jobs[2], chain.jobs[4], chain.jobs[0], chain.jobs[1], chain.jobs[3]):
        assert len(blocks_of(link)) > 0
        if is_deleted:
            chain.store.delete(job, OWNER)
        else:
            forget_now(link, job)
    assert blocks_of(link) == []
    assert use(link) == {}
    assert link.call("ZCARD", f"{P}kept") == 0


def test_delete_frees_what_no_other_job_uses(link: RedisLink) -> None:
    """The last turn's deletion takes its own block and leaves those of the turn before."""
    chain = Chain(link)
    for number in range(4):
        chain.add(f"{number}" + "x" * 5000)
    before = len(blocks_of(link))
    chain.store.delete(chain.jobs[3], OWNER)
    assert len(blocks_of(link)) < before
    assert chain.store.input_of(chain.jobs[2])["messages"] == chain.messages[:5]


def test_blocks_live_as_long_as_their_longest_job(link: RedisLink) -> None:
    """A block is kept until the last expiry of its jobs; one that has not ended holds it beyond its deadline."""
    store, worker, earlier = store_of(link), HandWorker(link), [long("a")]
    brief = store.submit(turn(earlier, said("user", "b"), ttl_s=60), max_queued=9).job
    lasting = store.submit(turn(earlier, said("user", "c"), ttl_s=5000), max_queued=9).job
    (name,) = (key.removeprefix(P) for key in blocks_of(link) if ":alice" in key and "users" not in key)

    def kept_s() -> float:
        now = int(link.call("TIME")[0])
        return float(link.call("ZSCORE", f"{P}kept", f"{OWNER} {name}")) / 1000 - now

    assert kept_s() > 3600 + 5000
    worker.finish(worker.take_job(brief.id))
    worker.finish(worker.take_job(lasting.id))
    assert 4000 < kept_s() <= 5001
    store.delete(lasting.id, OWNER)
    assert 0 < kept_s() <= 61


def test_owners_share_nothing(link: RedisLink) -> None:
    """Two owners with the same text have a block each; the end of one leaves the other's."""
    alice, bob = Chain(link), Chain(link, "bob")
    for chain in (alice, bob):
        chain.add("x" * 5000)
        chain.add("and?")
    assert len(blocks_of(link, OWNER)) == len(blocks_of(link, "bob")) == 2
    for job in alice.jobs:
        alice.store.delete(job, OWNER)
    assert blocks_of(link, OWNER) == []
    assert bob.store.input_of(bob.jobs[1])["messages"] == bob.messages[:3]


def test_same_submit_twice(link: RedisLink) -> None:
    """A submit that is sent again, with or without an Idempotency-Key, changes nothing."""
    store = store_of(link)
    first = turn([long("a"), long("b")], said("user", "c"), idempotency_key="k", body_digest="d")
    store.submit(first, max_queued=9)
    before = contents(link)
    assert not store.submit(first, max_queued=9).replayed
    again = turn([long("a"), long("b")], said("user", "c"), idempotency_key="k", body_digest="d")
    assert store.submit(again, max_queued=9).replayed
    assert contents(link) == before


@pytest.mark.one_shard
def test_refused_submit_leaves_nothing(link: RedisLink) -> None:
    """A submit beyond its owner's bytes is refused by what its blocks take, and stores none of them."""
    store, new = store_of(link), turn([long("a" * 100_000), long("b" * 100_000)], said("user", "c"))
    with pytest.raises(OwnerBytesFull):
        store.submit(new, max_queued=9, limits=OwnerLimits(bytes=150_000))
    assert link.call("KEYS", f"{P}*lice*") == []
    store.submit(new, max_queued=9, limits=OwnerLimits(bytes=300_000))


def test_ledger_counts_a_block_once(link: RedisLink) -> None:
    """What an owner uses has each block once, however many jobs use it, until the last is gone."""
    store, worker, earlier = store_of(link), HandWorker(link), [long("a" * 50_000)]
    jobs = [store.submit(turn(earlier, said("user", str(number))), max_queued=9).job.id for number in range(3)]
    assert 50_000 < use(link)["bytes"] < 70_000
    for job in jobs:
        worker.finish(worker.take_job(job))
    for job in jobs[:2]:
        store.delete(job, OWNER)
    assert use(link)["bytes"] > 50_000
    store.delete(jobs[2], OWNER)
    assert use(link) == {}


def staged(link: RedisLink, count: int) -> tuple[JobStore, NewBatch]:
    """A batch that is written but not complete, whose lines all go on from one conversation of a megabyte."""
    store, batch_id, earlier = store_of(link), new_batch_id(0), [long("a" * 500_000), long("b" * 500_000)]
    news = [turn(earlier, said("user", str(number)), batch=batch_id, batch_index=number) for number in range(count)]
    batch = NewBatch(batch_id, OWNER, news)
    store.stage_batch(batch, max_queued=1000)
    assert 1_000_000 < use(link)["bytes"] < 1_500_000
    for start in range(0, count, 50):
        store.submit_many(news[start : start + 50], max_queued=1000)
    return store, batch


def test_batch_that_goes_on_from_one_conversation(link: RedisLink) -> None:
    """Lines of a batch that go on from one large conversation store it once, are in their order, and have it all."""
    before = memory(link)
    store, batch = staged(link, 150)
    store.seal_batch(batch)
    assert memory(link) - before < 2_000_000
    assert use(link)["bytes"] < 1_500_000
    worker = HandWorker(link)
    for new in (batch.jobs[0], batch.jobs[1]):
        claim = worker.take()
        assert (claim.job.id, claim.input["messages"]) == (new.id, new.input["messages"])


def test_batch_that_is_dropped_leaves_no_block(link: RedisLink) -> None:
    """What is forgotten of a batch takes its blocks along."""
    store, batch = staged(link, 3)
    assert store.drop_batch(batch.id)
    assert blocks_of(link) == []
    assert use(link) == {}
    with pytest.raises(BatchNotFound):
        store.submit_many(batch.jobs, max_queued=9)
    assert blocks_of(link) == []


@pytest.mark.parametrize("damage", ["deleted", "retyped", "changed", "moved", "unnamed"])
def test_conversation_that_is_not_whole(link: RedisLink, damage: str) -> None:
    """A job whose earlier turns are missing or damaged ends and says so; the job behind it runs."""
    store, worker, earlier = store_of(link), HandWorker(link), [long("a"), long("b"), long("c")]
    broken = store.submit(turn(earlier, said("user", "d")), max_queued=9).job
    behind = submit(link)
    middle = f"{P}block:{OWNER}:{divide(earlier).blocks[1].digest}"
    match damage:
        case "deleted":
            link.call("DEL", middle)
        case "retyped":
            link.pipeline([("DEL", middle), ("SET", middle, "none of ours")])
        case "changed":
            link.call("HSET", middle, "messages", orjson.dumps([long("other")]))
        case "moved":
            link.call("HSET", middle, "before", middle.rpartition(":")[2])
        case "unnamed":
            link.call("HDEL", job_key(broken.id), "before")
    with pytest.raises(UndecodableRecord):
        store.input_of(broken.id)
    with pytest.raises(UndecodableRecord):
        worker.claim()
    assert worker.take().job.id == behind.id
    job = store.look(broken.id, OWNER)
    assert job.error is not None
    assert (job.status, job.error["code"]) == (Status.FAILED, "record_damaged")
    assert "a block of its conversation is missing or damaged" in job.error["message"]


def test_lost_block_is_stored_again(link: RedisLink) -> None:
    """A submit that has the text of a block that was lost makes its conversation whole again, for all its jobs."""
    store, earlier = store_of(link), [long("a"), long("b"), long("c")]
    first = store.submit(turn(earlier, said("user", "d")), max_queued=9).job
    link.call("DEL", f"{P}block:{OWNER}:{divide(earlier).blocks[0].digest}")
    store.submit(turn(earlier, said("user", "e")), max_queued=9)
    assert store.input_of(first.id)["messages"][:3] == earlier


def test_keeper_finds_blocks_again(link: RedisLink) -> None:
    """Blocks of which an index or the ledger was lost are counted again, and forgotten with their last user."""
    chain = Chain(link)
    for number in range(3):
        chain.add(f"{number}" + "x" * 5000)
    link.call("DEL", f"{P}kept", f"{P}ledger")
    for _ in range(3):
        keep(link, lease_ms=60_000)
    assert use(link)["bytes"] > 10_000
    # The block behind it was deleted by something else.
    digest = link.call("HGET", job_key(chain.jobs[2]), "before").decode()
    link.call("DEL", f"{P}block:{OWNER}:{digest}")
    for job in chain.jobs:
        chain.store.delete(job, OWNER)
    for _ in range(3):
        keep(link, lease_ms=60_000)
    assert [key for key in blocks_of(link) if "users" not in key] == []


def test_whole_conversation_of_an_older_version(link: RedisLink) -> None:
    """A job whose input has the whole conversation is read as ever, and gone on from."""
    store, earlier = store_of(link), [long("a"), long("b")]
    old = store.submit(new_job(input={"messages": earlier, "params": {}}), max_queued=9).job
    assert (record(link, old.id)["schema"], blocks_of(link)) == ("1", [])
    assert store.input_of(old.id)["messages"] == earlier
    assert HandWorker(link).take().input["messages"] == earlier


@pytest.mark.one_shard
def test_older_version_leaves_jobs_with_blocks(link: RedisLink) -> None:
    """A worker that cannot read such a job leaves it, and one of this version runs it with its whole conversation."""
    store, earlier = store_of(link), [long("a"), long("b")]
    job = store.submit(turn(earlier, said("user", "c")), max_queued=9).job
    plain = submit(link)
    reply = link.run(script("claim", 1), 0, "f1", 1000, "older", "any", 1, 0.2, 20, DEMO.name, 0)
    assert reply[0].decode() == plain.id
    claim = HandWorker(link).take()
    assert (claim.job.id, claim.input["messages"][:2]) == (job.id, earlier)
    assert link.call("EXISTS", f"{P}newer:2:pending:{DEMO.name}") == 0
