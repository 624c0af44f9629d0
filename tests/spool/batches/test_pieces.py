"""Open batches: lines added in pieces, each once, until the batch is sealed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rig.batches import add, create, feed, feeder_of, log_of_batch, new_line
from spool.batches.batch import Batch, BatchOptions, BatchState, OnBadLine
from spool.batches.line import BadLine, Line
from spool.batches.pieces import Pieces
from spool.batches.store import Batches
from spool.errors import (
    BatchClosed,
    BatchMoved,
    BatchNotFound,
    BatchTooLarge,
    IdempotencyConflict,
    OwnerQueueFull,
    QueueFull,
    RecordDamaged,
    TooManyModels,
    TooManyOpenBatches,
)
from spool.jobs.job import OPEN_LINE
from spool.jobs.owner_limits import OwnerLimits
from spool.jobs.scripts import arguments, script
from spool.keys import prefix
from spool.models.model import Model
from spool.redis.link import RedisLink
from tests.by_hand import OWNER, HandWorker, keep, record, settle, shards_of, use
from tests.spool.jobs.test_rewinds import Saved
from tests.web.problem_shape import stored

pytestmark = pytest.mark.one_shard
P = prefix(0)
OPEN = BatchOptions(is_open=True, on_bad_line=OnBadLine.SKIP)


def look(link: RedisLink, batch_id: str) -> Batch:
    """The batch as its owner sees it."""
    return Batches(shards_of(link)).look(batch_id, OWNER)


def seal(link: RedisLink, batch_id: str, owner: str = OWNER) -> None:
    """Seal the batch."""
    Pieces(shards_of(link)).seal(batch_id, owner)


def run_all(link: RedisLink) -> int:
    """Run all jobs that wait, and those that the feeder adds; their number."""
    worker, count = HandWorker(link), 0
    feed(link)
    while (claimed := worker.claim()) is not None:
        worker.finish(claimed)
        count += 1
        feed(link)
    return count


def test_lines_in_pieces(link: RedisLink) -> None:
    """Pieces of several models run while the batch is open; it ends with the last line after its seal."""
    batch = create(link, 0, options=OPEN)
    assert (look(link, batch).is_open, look(link, batch).total) == (True, 0)
    assert add(link, batch, 0, 2).first == 0
    assert run_all(link) == 2
    assert (look(link, batch).is_ended, look(link, batch).counts["succeeded"]) == (False, 2)
    other = [Line(2, new_line(2, model="other"), "c2"), Line(3, new_line(3), "c3")]
    assert add(link, batch, 2, [*other, BadLine(4, 3, "invalid_request", "is wrong")]).count == 3
    assert run_all(link) == 1
    seal(link, batch)
    assert (look(link, batch).is_open, look(link, batch).is_ended) == (False, False)
    worker = HandWorker(link)
    claimed = worker.claim(Model("other", "demo"))
    assert claimed is not None
    worker.finish(claimed)
    entries = log_of_batch(link, batch)
    assert sorted(entry["batch_index"] for entry in entries[:-1]) == list(range(5))
    assert ([entry["id"] for entry in entries], entries[-1]["kind"]) == (list(range(1, 7)), "done")
    found = look(link, batch)
    assert (found.state, found.total, found.counts["failed"]) == (BatchState.COMPLETED, 5, 1)
    assert (use(link)["queued"], use(link)["expected"]) == (0, 0)


def test_feeder_that_has_read_the_index_finds_new_lines(link: RedisLink) -> None:
    """A feeder goes on with lines that were added after it read the batch."""
    feeder, batch, worker = feeder_of(link), create(link, 0, options=OPEN), HandWorker(link)
    for first in (0, 2, 4):
        add(link, batch, first, 2)
        feeder.beat(lambda _s: None)
        for _ in range(2):
            worker.finish(worker.take())
    assert [entry["status"] for entry in log_of_batch(link, batch)] == ["succeeded"] * 6


def test_piece_is_added_once(link: RedisLink) -> None:
    """The same key with the same body is not added again, also after the seal and the end; with another body never."""
    batch = create(link, 0, options=OPEN)
    add(link, batch, 0, 1, key="a", digest="x")
    before = stored(link)
    again = add(link, batch, 1, 1, key="a", digest="x")
    assert (again.first, again.count, again.replayed) == (0, 1, True)
    with pytest.raises(IdempotencyConflict):
        add(link, batch, 1, 1, key="a", digest="y")
    assert stored(link) == before
    seal(link, batch)
    assert run_all(link) == 1
    assert add(link, batch, 1, 1, key="a", digest="x").replayed
    assert look(link, batch).total == 1


def test_piece_that_another_one_overtook(link: RedisLink) -> None:
    """A piece whose lines have the numbers of others is not added; the error has the number of lines."""
    batch = create(link, 0, options=OPEN)
    add(link, batch, 0, 3)
    with pytest.raises(BatchMoved) as moved:
        add(link, batch, 0, 2)
    assert (moved.value.total, look(link, batch).total) == (3, 3)


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"most": 2}, BatchTooLarge),
        ({"max_queued": 2}, QueueFull),
        ({"limits": OwnerLimits(queued=2)}, OwnerQueueFull),
        ({"owner": "bob"}, BatchNotFound),
    ],
    ids=["lines", "queue", "owner", "another-owner"],
)
def test_refused_piece_changes_nothing(link: RedisLink, wrong: dict[str, object], error: type[Exception]) -> None:
    """A piece beyond a limit, or of another owner, is refused as a whole."""
    batch = create(link, 0, options=OPEN)
    add(link, batch, 0, 1)
    before = stored(link)
    with pytest.raises(error):
        add(link, batch, 1, 2, **wrong)  # type: ignore[arg-type]
    assert stored(link) == before


def test_pieces_and_models_are_bounded(link: RedisLink) -> None:
    """A batch takes 10,000 pieces, and lines of 200 models."""
    batch = create(link, 0, options=OPEN)
    link.call("HSET", f"{P}batch:{batch}", "pieces", 10_000)
    with pytest.raises(BatchTooLarge):
        add(link, batch, 0, 1)
    link.call("HSET", f"{P}batch:{batch}", "pieces", 1)
    with pytest.raises(TooManyModels):
        add(link, batch, 0, [Line(n, new_line(n, model=f"m{n}")) for n in range(201)])


def test_open_batches_are_bounded(link: RedisLink) -> None:
    """An owner has at most 1,000 open batches; those that are lost do not count, nor those that were sealed."""
    batch = create(link, 0, options=OPEN)
    link.call("SADD", f"{P}open-batches:{OWNER}", *(f"b0-{n:026}" for n in range(1000)))
    other = create(link, 0, options=OPEN)
    assert set(link.call("SMEMBERS", f"{P}open-batches:{OWNER}")) == {batch.encode(), other.encode()}
    seal(link, other)
    assert link.call("SMEMBERS", f"{P}open-batches:{OWNER}") == [batch.encode()]


def test_too_many_open_batches(link: RedisLink) -> None:
    """An owner with as many open batches as it may have opens no further one."""
    names = [f"b0-{n:026}" for n in range(1000)]
    for name in names:
        link.call("HSET", f"{P}batch:{name}", "status", "open")
    link.call("SADD", f"{P}open-batches:{OWNER}", *names)
    with pytest.raises(TooManyOpenBatches):
        create(link, 0, options=OPEN)


@pytest.mark.parametrize(
    "close",
    [
        lambda link, batch: seal(link, batch),
        lambda link, batch: Batches(shards_of(link)).stop(batch, OWNER),
    ],
    ids=["sealed", "cancelled"],
)
def test_closed_batch_takes_no_lines(link: RedisLink, close: Callable[[RedisLink, str], None]) -> None:
    """No lines are added to a batch that is sealed or cancelled."""
    batch = create(link, 0, options=OPEN)
    add(link, batch, 0, 1)
    close(link, batch)
    with pytest.raises(BatchClosed):
        add(link, batch, 1, 1)


def test_seal(link: RedisLink) -> None:
    """A seal twice is one; of an empty batch it is the end; of another owner's batch, or a cancelled one, an error."""
    batch = create(link, 0, options=OPEN)
    with pytest.raises(BatchNotFound):
        seal(link, batch, "bob")
    seal(link, batch)
    found = look(link, batch)
    seal(link, batch)
    assert (found.state, found.total) == (BatchState.COMPLETED, 0)
    assert look(link, batch) == found
    assert [entry["kind"] for entry in log_of_batch(link, batch)] == ["done"]
    cancelled = create(link, 0, options=OPEN)
    add(link, cancelled, 0, 1)
    Batches(shards_of(link)).stop(cancelled, OWNER)
    for _ in range(2):
        with pytest.raises(BatchClosed):
            seal(link, cancelled)
        # Now it ends.
        feed(link)


def test_bad_lines_take_no_room_in_the_queue(link: RedisLink) -> None:
    """Lines that cannot run do not count as queued, however long their batch is open."""
    batch = create(link, 0, options=OPEN)
    add(link, batch, 0, [BadLine(n, n + 1, "invalid_request", "is wrong") for n in range(3)])
    add(link, batch, 3, 1)
    assert use(link)["queued"] == 1
    feed(link)
    assert (run_all(link), use(link)["queued"], look(link, batch).counts["failed"]) == (1, 0, 3)


def test_piece_in_the_place_of_a_lost_one(link: RedisLink) -> None:
    """After Redis has lost a piece, the lines that get its numbers run, and no answer to a lost line becomes theirs."""
    batch, feeder, worker = create(link, 0, options=OPEN), feeder_of(link), HandWorker(link)
    worker.beat()
    saved = Saved(link)

    def added(text: str) -> None:
        said = {"messages": [{"role": "user", "content": text}], "params": {}}
        feeder.continue_at(batch, add(link, batch, 0, [Line(0, new_line(0, input=said))]).feedable)

    added("lost")
    claim = worker.take()
    saved.restore()
    added("kept")
    keep(link)
    settle(link)
    assert worker.claims.adopt(claim) == b"lost"
    assert HandWorker(link, name="other").take().input["messages"][0]["content"] == "kept"


def test_cancelled_open_batch_ends(link: RedisLink) -> None:
    """A cancel ends an open batch at once if each of its lines has ended, and else with its last line."""
    empty, batch = create(link, 0, options=OPEN), create(link, 0, options=OPEN)
    Batches(shards_of(link)).stop(empty, OWNER)
    assert look(link, empty).state is BatchState.CANCELLED
    add(link, batch, 0, 2)
    Batches(shards_of(link)).stop(batch, OWNER)
    feed(link)
    found = look(link, batch)
    assert (found.state, found.counts["cancelled"], found.total) == (BatchState.CANCELLED, 2, 2)
    assert (use(link)["queued"], link.call("EXISTS", f"{P}open-batches:{OWNER}")) == (0, 0)


@pytest.mark.parametrize("lines", [0, 2])
def test_open_batch_expires(link: RedisLink, lines: int) -> None:
    """A batch that is not sealed within its window expires, with its lines that have not run."""
    batch = create(link, 0, options=OPEN)
    if lines:
        add(link, batch, 0, lines)
    link.call("HSET", f"{P}batch:{batch}", "expires_ms", 1)
    feed(link)
    found = look(link, batch)
    assert (found.state, found.counts["expired"], found.total) == (BatchState.EXPIRED, lines, lines)
    with pytest.raises(BatchClosed):
        add(link, batch, lines, 1)
    assert link.call("PTTL", f"{P}batch:{batch}") > 0


def test_lines_of_an_open_batch_wait_for_this_version(link: RedisLink) -> None:
    """Older processes do not claim its jobs and do not feed it, since they would end it with the last line so far."""
    batch = create(link, 0, options=OPEN)
    add(link, batch, 0, 2)
    feed(link)
    assert record(link, HandWorker(link).take().job.id)["schema"] == str(OPEN_LINE)
    assert link.call("ZCARD", f"{P}feeding") == 0
    keep(link)
    assert link.call("ZRANGE", f"{P}feeding-open", 0, -1) == [batch.encode()]


def test_lost_index_of_open_batches_is_rebuilt(link: RedisLink) -> None:
    """The keeper adds an open batch to the feeder's index again."""
    batch = create(link, 0, options=OPEN)
    link.call("DEL", f"{P}feeding-open")
    link.call("SET", f"{P}reindex", 0)
    keep(link)
    assert link.call("ZRANGE", f"{P}feeding-open", 0, -1) == [batch.encode()]


@pytest.mark.parametrize(
    "damage",
    [
        ("HSET", "", "total", "x"),
        ("HSET", "", "lanes", "x"),
        ("HDEL", "", "size:0"),
        ("HSET", "", "size:0", "0"),
        ("HDEL", "", "model:0"),
        ("HDEL", ":lines", "index"),
        ("HSET", ":lines", "index", "[["),
        ("SET", ":lines", "x"),
        ("HSET", ":pieces", "a", "x"),
    ],
    ids=lambda damage: "-".join(part.strip(":") or "batch" for part in damage),
)
def test_damaged_batch_takes_no_lines(link: RedisLink, damage: tuple[str, ...]) -> None:
    """No lines are added where they could replace others, and the error says why; a cancel still ends the batch."""
    batch = create(link, 0, options=OPEN)
    add(link, batch, 0, 2, key="b", digest="d")
    command, suffix, *rest = damage
    link.call(command, f"{P}batch:{batch}{suffix}", *rest)
    with pytest.raises((RecordDamaged, BatchMoved)):
        add(link, batch, 2, 1, key="a", digest="d")
    assert Batches(shards_of(link)).stop(batch, OWNER)


def test_feedable_places(link: RedisLink) -> None:
    """The lines that may become jobs at once: none behind others that wait, or of a paused batch, and 64 at a time."""
    batch = create(link, 0, options=OPEN)
    assert add(link, batch, 0, 70).feedable == [(0, 0, 64)]
    assert add(link, batch, 70, 1).feedable == []
    paused = create(link, 0, options=OPEN)
    args = arguments("pause_batch", id=paused, owner=OWNER, is_paused=1)
    next(iter(shards_of(link))).run(script("pause_batch"), *args)
    assert add(link, paused, 0, 1).feedable == []
