"""Batches: created in one step or not at all, and what their owners can do."""

from __future__ import annotations

import random
from typing import Any

import pytest

from rig.batches import create, feed, feeder_of, lines_of, log_of_batch
from spool.batches.batch import Batch, BatchOptions, BatchState, OnBadLine
from spool.batches.line import BadLine
from spool.batches.store import Batches, NewBatch
from spool.errors import (
    BatchNotEnded,
    BatchNotFound,
    BatchStopped,
    IdempotencyConflict,
    OutcomeUnknown,
    OwnerQueueFull,
    QueueFull,
    StoreUnavailable,
)
from spool.following.follower import Follower
from spool.ids import new_batch_id
from spool.jobs.log import BATCH_PAGE
from spool.jobs.owner_limits import OwnerLimits
from spool.jobs.repeats import Joins, Repeat
from spool.jobs.shards import Shard, Shards
from spool.keys import prefix
from spool.redis.link import RedisLink
from spool.redis.script import Script
from tests.by_hand import OWNER, HandWorker, keep, shards_of, use
from tests.web.problem_shape import stored

pytestmark = pytest.mark.one_shard
P = prefix(0)


def look(link: RedisLink, batch_id: str) -> Batch:
    """The batch as its owner sees it."""
    return Batches(shards_of(link)).look(batch_id, OWNER)


def test_lines_wait_as_bytes(link: RedisLink) -> None:
    """A new batch has no jobs, and room for all of them is reserved."""
    batch = create(link, 5)
    assert (look(link, batch).state, look(link, batch).counts["queued"]) == (BatchState.IN_PROGRESS, 5)
    assert link.call("KEYS", "*job:*") == []
    assert use(link)["queued"] == 5
    assert HandWorker(link).claim() is None


def test_creation_repeated(link: RedisLink) -> None:
    """The same key and body give the same batch, another body none; and a repeated call of one creation is one."""
    batch = create(link, 2, key="k", digest="d")
    before = stored(link)
    assert create(link, 2, key="k", digest="d") == batch
    assert create(link, 2, key="k", digest="d", batch_id=batch) == batch
    with pytest.raises(IdempotencyConflict):
        create(link, 1, key="k", digest="other")
    assert stored(link) == before


def test_repeated_tries_are_one_batch(link: RedisLink) -> None:
    """A first try always makes a batch; a later one gets the newest batch of an equal request, if it is young."""
    first, again = Repeat("r", Joins.NONE), Repeat("r", Joins.RECENT)
    one, other = create(link, 1, repeat=first), create(link, 1, repeat=first)
    assert one != other == create(link, 1, repeat=again)
    assert create(link, 1, repeat=Repeat("other", Joins.RECENT)) not in (one, other)
    link.call("HSET", f"{P}batch:{other}", "created_ms", 1)
    assert create(link, 1, repeat=again) not in (one, other)


@pytest.mark.parametrize(("most", "limits", "error"), [(3, {}, QueueFull), (9, {"queued": 3}, OwnerQueueFull)])
def test_refused_batch_leaves_nothing(
    link: RedisLink, most: int, limits: dict[str, int], error: type[Exception]
) -> None:
    """A batch without room is refused, also where some of its blocks were staged."""
    with pytest.raises(error):
        create(link, 4, most=most, limits=OwnerLimits(**limits))
    assert stored(link) == {}


def test_large_batch_is_staged(link: RedisLink) -> None:
    """Blocks beyond the first are written before the batch, expire until it exists, and are dropped with it."""
    draw = random.Random(7)
    lines = [
        line
        for _ in range(6)
        for line in lines_of(1, input={"messages": [], "params": {"x": draw.randbytes(40_000).hex()}})
    ]
    new = NewBatch(new_batch_id(0), OWNER, BatchOptions())
    with Batches(shards_of(link)).staging(new) as staging:
        for line in lines:
            staging.add(line)
        key = f"{P}batch:{new.id}:lines"
        assert 0 < link.call("PTTL", key) <= 600_000
        link.call("DEL", key)
        with pytest.raises(StoreUnavailable, match="too slowly"):
            staging.create("", max_queued=100)
        staging.add(lines[0])
    assert stored(link) == {}


class LosingShard(Shard):
    """A shard whose answers to scripts are lost."""

    def run(self, script: Script, *args: Any) -> Any:
        super().run(script, *args)
        raise OutcomeUnknown("lost")


def test_lost_answer_leaves_the_lines(link: RedisLink) -> None:
    """A batch that was created without an answer keeps the lines that were staged."""
    draw, new = random.Random(7), NewBatch(new_batch_id(0), OWNER, BatchOptions())
    large = {"messages": [], "params": {"x": draw.randbytes(300_000).hex()}}
    with Batches(Shards([LosingShard(0, link)])).staging(new) as staging:
        for line in lines_of(2, input=large):
            staging.add(line)
        with pytest.raises(OutcomeUnknown):
            staging.create("", max_queued=100)
    feed(link)
    assert len(list(Batches(shards_of(link)).lines(new.id))) == 2
    assert HandWorker(link).claim() is not None


def test_bad_lines_fail_a_batch(link: RedisLink) -> None:
    """With ``fail`` a bad line leaves a batch that has failed, with its errors, an end in its log, and no line."""
    bad = BadLine(1, 2, "invalid_request", "is wrong", "prompt")
    batch = create(link, [*lines_of(1), bad], options=BatchOptions(on_bad_line=OnBadLine.FAIL))
    found = look(link, batch)
    assert (found.state, found.total, found.errors) == (BatchState.FAILED, 0, [bad.public()])
    assert [entry["kind"] for entry in log_of_batch(link, batch)] == ["failed"]
    assert (use(link)["queued"], use(link)["expected"]) == (0, 0)
    assert not link.call("EXISTS", f"{P}batch:{batch}:lines")


def test_bad_lines_are_results(link: RedisLink) -> None:
    """With ``skip`` a bad line is a result with its error, and the others run."""
    batch = create(link, [BadLine(0, 1, "invalid_request", "is wrong"), *lines_of(1)])
    feed(link)
    worker = HandWorker(link)
    worker.finish(worker.take())
    entries = log_of_batch(link, batch)
    assert sorted((entry.get("status"), (entry.get("error") or {}).get("code")) for entry in entries[:-1]) == [
        ("failed", "invalid_request"),
        ("succeeded", None),
    ]
    assert look(link, batch).state is BatchState.COMPLETED


def test_foreign_batch_is_missing(link: RedisLink) -> None:
    """Another owner can neither see, stop, pause nor delete a batch."""
    batches, batch = Batches(shards_of(link)), create(link, 1)
    before = stored(link)
    for call in (
        lambda: batches.look(batch, "bob"),
        lambda: batches.stop(batch, "bob"),
        lambda: batches.pause(batch, "bob", is_paused=True),
        lambda: batches.delete(batch, "bob"),
    ):
        with pytest.raises(BatchNotFound):
            call()
    assert stored(link) == before


def test_stopped_batch_ends_with_every_line(link: RedisLink) -> None:
    """A cancel ends lines that wait, queued jobs and running ones; the counts add up, and each line has one entry."""
    batches, batch, worker = Batches(shards_of(link)), create(link, 100), HandWorker(link)
    feed(link)
    done, running = worker.take(), worker.take()
    worker.finish(done)
    assert batches.stop(batch, OWNER)
    assert look(link, batch).state is BatchState.CANCELLING
    feeder_of(link).settle(batch, "cancelled")
    assert worker.claim() is None
    assert not look(link, batch).is_ended
    assert worker.beat(running) == [b"cancelled"]
    found = look(link, batch)
    assert (found.state, found.counts["succeeded"], found.counts["cancelled"]) == (BatchState.CANCELLED, 1, 99)
    lines = [entry for entry in log_of_batch(link, batch) if entry["kind"] == "line"]
    assert sorted(entry["batch_index"] for entry in lines) == list(range(100))
    assert {entry["error"]["code"] for entry in lines[1:]} == {"batch_cancelled"}
    assert batches.stop(batch, OWNER)


def test_stop_is_one_mark(link: RedisLink) -> None:
    """From the mark on a claim ends the batch's queued jobs instead of beginning them."""
    batch, worker = create(link, 3), HandWorker(link)
    feed(link)
    link.call("HSET", f"{P}batch:{batch}", "stop", "cancelled")
    assert worker.claim() is None
    assert look(link, batch).state is BatchState.CANCELLED


def test_expired_batch(link: RedisLink) -> None:
    """After its window nothing of a batch begins, and its lines say so."""
    batch = create(link, 70)
    feed(link)
    worker = HandWorker(link)
    worker.finish(worker.take())
    link.call("HSET", f"{P}batch:{batch}", "expires_ms", 1)
    feed(link)
    found = look(link, batch)
    assert (found.state, found.counts["succeeded"], found.counts["expired"]) == (BatchState.EXPIRED, 1, 69)
    entries = log_of_batch(link, batch)
    assert [entries[-1]["kind"], entries[-1]["error"]["code"]] == ["failed", "batch_expired"]
    assert {entry["status"] for entry in entries[1:-1]} == {"expired"}


def test_paused_batch(link: RedisLink) -> None:
    """A paused batch feeds nothing until it is resumed; one that has ended cannot be paused."""
    batches, batch, worker = Batches(shards_of(link)), create(link, 1), HandWorker(link)
    batches.pause(batch, OWNER, is_paused=True)
    feed(link)
    assert (worker.claim(), look(link, batch).is_paused) == (None, True)
    batches.pause(batch, OWNER, is_paused=False)
    feed(link)
    worker.finish(worker.take())
    with pytest.raises(BatchStopped):
        batches.pause(batch, OWNER, is_paused=True)


def test_deleted_batch_leaves_nothing(link: RedisLink) -> None:
    """A batch can be deleted once it has ended; its key is free, and nothing of it stays."""
    batches, batch, worker = Batches(shards_of(link)), create(link, 1, key="k", digest="d"), HandWorker(link)
    with pytest.raises(BatchNotEnded):
        batches.delete(batch, OWNER)
    feed(link)
    worker.finish(worker.take())
    batches.delete(batch, OWNER)
    assert link.call("KEYS", f"*{batch}*") == link.call("KEYS", "*idempotency*") == []
    with pytest.raises(BatchNotFound):
        batches.look(batch, OWNER)


def test_newest_batches(link: RedisLink) -> None:
    """Batches are listed newest first, page by page."""
    batches, made = Batches(shards_of(link)), [create(link, 1) for _ in range(3)]
    page, cursor = batches.newest(OWNER, limit=2)
    rest, last = batches.newest(OWNER, limit=2, cursor=cursor)
    assert [batch.id for batch in (*page, *rest)] == made[::-1]
    assert last is None


def test_stored_lines(link: RedisLink) -> None:
    """The lines can be read as long as the batch exists."""
    batch = create(link, 300)
    wanted = {0, 299}
    found = Batches(shards_of(link)).lines(batch, wanted.__contains__)
    assert [(fields["index"], fields["custom_id"]) for fields in found] == [(0, "c0"), (299, "c299")]


def test_results_are_read_in_small_pages(link: RedisLink) -> None:
    """A page of results is bounded, since each may be a large answer; a reader gets all of them."""
    batch, worker = create(link, BATCH_PAGE + 1), HandWorker(link)
    feed(link)
    while claim := worker.claim():
        worker.finish(claim)
    assert len(Batches(shards_of(link)).results(batch, 0, 500)) == BATCH_PAGE
    ids, ended = list[int](), False
    with Follower(link).attach(look(link, batch).as_log(), 0) as reader:
        while not ended:
            rows, gap, ended = reader.take_rows(1000)
            assert (len(rows) <= BATCH_PAGE, gap) == (True, None)
            ids += [entry_id for entry_id, _raw in rows]
    assert ids == list(range(1, BATCH_PAGE + 3))


def test_results_live_as_long_as_the_batch(link: RedisLink) -> None:
    """All keys of a batch get one expiry, and its jobs are gone before."""
    batch, worker = create(link, 1, options=BatchOptions()), HandWorker(link)
    feed(link)
    claim = worker.take()
    worker.finish(claim)
    lives = [link.call("PTTL", f"{P}batch:{batch}{suffix}") for suffix in ("", ":log", ":lines")]
    assert min(lives) > 86_000_000
    assert 0 < link.call("PTTL", f"{P}job:{claim.job.id}") <= 60_000


def test_lost_job_ends_its_line(link: RedisLink) -> None:
    """A job that was deleted from outside ends its line, so that the batch ends."""
    batch = create(link, 1)
    feed(link)
    (job,) = (key for key in link.call("KEYS", f"{P}job:*") if not key.endswith(b":input"))
    link.call("DEL", job)
    feed(link)
    found = look(link, batch)
    assert (found.state, found.counts["failed"], found.counts["queued"]) == (BatchState.COMPLETED, 1, 0)


def test_lost_index_of_batches_is_rebuilt(link: RedisLink) -> None:
    """The keeper finds a batch again that the feeder's index has lost."""
    create(link, 1)
    link.call("DEL", f"{P}feeding")
    keep(link)
    feed(link)
    assert HandWorker(link).claim() is not None
