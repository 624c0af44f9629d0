"""The list of an owner's batches: newest first, each once, and only while they exist."""

from __future__ import annotations

import pytest

from spool.ids import new_batch_id
from spool.jobs.submission import NewBatch
from spool.keys import prefix
from spool.redis.link import RedisLink
from tests.by_hand import OWNER, HandWorker, keep, new_job, shards_of, store_of


def accept(link: RedisLink, number: int = 0, owner: str = OWNER, jobs: int = 1, *, seals: bool = True) -> str:
    """A batch on the next shard; its id."""
    store, shards = store_of(link), shards_of(link)
    batch_id = new_batch_id(number % len(shards))
    new = [new_job(id="", batch=batch_id, batch_index=n, owner=owner, ttl_s=60) for n in range(jobs)]
    batch = NewBatch(batch_id, owner, [shards.place(job) for job in new], "", "")
    store.stage_batch(batch, max_queued=1000)
    store.submit_many(batch.jobs, max_queued=1000)
    if seals:
        store.seal_batch(batch)
    return batch_id


def listed(link: RedisLink, limit: int = 20, owner: str = OWNER) -> list[str]:
    """All pages of the list."""
    store, found, cursor = store_of(link), list[str](), None
    while True:
        page = store.newest_batches(owner, limit=limit, cursor=cursor)
        found += page.batches
        cursor = page.cursor
        if cursor is None:
            return found


@pytest.mark.parametrize("limit", [1, 2, 3, 20])
def test_newest_is_first(link: RedisLink, limit: int) -> None:
    """Every batch of the owner is on one page, whatever the size of the pages, and no other owner's is."""
    ids = [accept(link, number) for number in range(5)]
    accept(link, owner="bob")
    assert listed(link, limit) == ids[::-1]


def test_incomplete_batch_is_not_listed(link: RedisLink) -> None:
    """A batch is listed once all of it is accepted; one that is dropped is not."""
    accept(link, seals=False)
    assert listed(link) == []


def test_expired_batch_leaves_the_list(link: RedisLink) -> None:
    """The keeper removes a batch when it expires; a list that finds one gone removes it as well."""
    batch_id, gone, stays = (accept(link) for _ in range(3))
    worker = HandWorker(link)
    for _ in range(3):
        worker.finish(worker.take())
    shard = prefix(0)
    assert listed(link) == [stays, gone, batch_id]
    link.call("ZADD", f"{shard}kept", 1, f"{OWNER} {batch_id}")
    keep(link)
    assert link.call("ZSCORE", f"{shard}batches:{OWNER}", batch_id) is None
    link.call("DEL", f"{shard}batch:{gone}")
    assert listed(link) == [stays]
    assert link.call("ZCARD", f"{shard}batches:{OWNER}") == 1


def test_list_while_writes_are_refused(link: RedisLink) -> None:
    """It shows what there is, and leaves what has expired, or a key of another type, to a later list."""
    stays, gone = accept(link), accept(link)
    name = f"{prefix(0)}batches:{OWNER}"
    link.call("DEL", f"{prefix(0)}batch:{gone}")
    link.call("CONFIG", "SET", "min-replicas-to-write", 1)
    try:
        assert listed(link) == [stays]
        assert link.call("ZCARD", name) == 2
        link.call("CONFIG", "SET", "min-replicas-to-write", 0)
        link.pipeline([("DEL", name), ("SET", name, "no list")])
        link.call("CONFIG", "SET", "min-replicas-to-write", 1)
        assert listed(link) == []
    finally:
        link.call("CONFIG", "SET", "min-replicas-to-write", 0)
    assert listed(link) == []
    assert link.call("EXISTS", name) == 0


def test_damaged_batch_hides_no_other(link: RedisLink) -> None:
    """A record that cannot be read is left out."""
    ids = [accept(link) for _ in range(3)]
    link.call("HSET", f"{prefix(0)}batch:{ids[1]}", "total", "many")
    link.pipeline([("DEL", f"{prefix(0)}batch:{ids[0]}"), ("SET", f"{prefix(0)}batch:{ids[0]}", "no record")])
    assert listed(link) == [ids[2]]
