"""The packer of batches: results and readers are the same before and after a batch's log is packed."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from rig.batches import create, feed, log_of_batch
from spool.batches.store import Batches
from spool.errors import BatchNotFound, OutcomeUnknown
from spool.following.follower import Follower
from spool.jobs.batch_packer import BatchPacker, EndedBatch
from spool.jobs.packer import Packer
from spool.jobs.packing import BLOCK_BYTES
from spool.jobs.shards import Shard
from spool.keys import prefix
from spool.redis.link import RedisLink
from tests.by_hand import OWNER, HandWorker, keep, ledger_of, shards_of, tokens

pytestmark = pytest.mark.one_shard
P = prefix(0)


def shard_of(link: RedisLink) -> Shard:
    """The only shard."""
    return next(iter(shards_of(link)))


def pack(link: RedisLink, *, rests: list[float] | None = None) -> int:
    """Pack everything that is due; the number of logs that were tried."""
    packer, count = Packer(shard_of(link), after_s=0), 0
    while tried := packer.beat((rests if rests is not None else []).append):
        count += tried
    return count


def ended(link: RedisLink, lines: int, text: str = "") -> str:
    """A batch whose lines have all ended, with this text as each answer, and whose jobs are gone."""
    batch, worker = create(link, lines), HandWorker(link)
    feed(link)
    while claim := worker.claim():
        if text:
            worker.append(claim, 2, tokens(2, text), text=text)
        worker.finish(claim)
        link.call("DEL", *(f"{P}job:{claim.job.id}{suffix}" for suffix in ("", ":log", ":text", ":input")))
        feed(link)
    link.call("DEL", f"{P}unpacked")
    return batch


def log_type(link: RedisLink, batch: str) -> str:
    """The type of the log's key."""
    return str(link.call("TYPE", f"{P}batch:{batch}:log").decode())


def view(link: RedisLink, batch: str) -> list[Any]:
    """What webs read of a batch's log: all of it, from each cursor on, and the last entries."""
    batches = Batches(shards_of(link))
    rows = list(batches.each_result(batch))
    cursors = random.Random(5).sample(range(len(rows)), min(8, len(rows)))
    return [rows, [list(batches.each_result(batch, after)) for after in cursors], log_of_batch(link, batch)]


def staged(link: RedisLink) -> list[bytes]:
    """The keys of packed logs that are not in their places."""
    return list(link.call("KEYS", "*:packed:*"))


@pytest.mark.parametrize(("lines", "text"), [(1, ""), (90, "Say it again. " * 12), (20, "x" * 30_000)])
def test_view_is_the_same(link: RedisLink, lines: int, text: str) -> None:
    """Ids, bytes and order of the entries do not change, whatever the number of blocks; the log takes less and expires
    with the record."""
    batch = ended(link, lines, text)
    before, size = view(link, batch), link.call("MEMORY", "USAGE", f"{P}batch:{batch}:log", "SAMPLES", 0)
    assert pack(link) == 1
    assert log_type(link, batch) == "string"
    assert view(link, batch) == before
    assert len(before[0]) == lines + 1
    assert link.call("MEMORY", "USAGE", f"{P}batch:{batch}:log") < size / 4
    expiries = [link.call("PEXPIRETIME", f"{P}batch:{batch}{suffix}") for suffix in ("", ":log")]
    assert 0 < max(expiries) - min(expiries) + 1 <= 2
    assert (staged(link), pack(link)) == ([], 0)
    assert Batches(shards_of(link)).look(batch, OWNER).as_log().is_packed


def test_owner_is_booked_with_what_is_left(link: RedisLink) -> None:
    """The owner's bytes shrink by what packing saves, and the ledger's sums agree."""
    batch = ended(link, 60, "Say it again. " * 20)
    before = ledger_of(link, 0)
    pack(link)
    after = ledger_of(link, 0)
    saved = before[batch][2] - after[batch][2]
    assert saved > 10_000
    assert before["sum"][2] - after["sum"][2] == before[f"sum:{OWNER}"][2] - after[f"sum:{OWNER}"][2] == saved


def test_reader_notices_nothing(link: RedisLink) -> None:
    """Readers that stand anywhere in the log while it is packed get the same entries as before, once each."""
    batch, chance, follower = ended(link, 120, "Say it again. " * 12), random.Random(4), Follower(link)
    rows = view(link, batch)[0]
    log = Batches(shards_of(link)).look(batch, OWNER).as_log()
    standing = [follower.attach(log, chance.randrange(len(rows))) for _ in range(30)]
    seen: dict[Any, list[Any]] = {reader: [] for reader in standing}
    begun = {reader: reader.cursor for reader in standing}
    packed = 0
    while any(seen[reader][-1:] != rows[-1:] for reader in standing):
        for reader in standing:
            taken, gap, _ended = reader.take_rows(chance.randint(1, 40))
            assert gap is None
            seen[reader] += taken
        packed = packed or pack(link)
    assert packed == 1
    for reader in standing:
        assert seen[reader] == rows[begun[reader] :]
        reader.close()


@pytest.mark.parametrize("seed", range(6))
def test_results_read_while_the_log_is_packed(link: RedisLink, seed: int) -> None:
    """A download that is anywhere in the log when it is packed goes on, to the byte."""
    batch, chance = ended(link, 40, "Say it again. " * chance_of(seed)), random.Random(seed)
    rows = view(link, batch)[0]
    moments = {chance.randrange(len(rows)) for _ in range(2)}
    reading, seen = Batches(shards_of(link)).each_result(batch), list[Any]()
    for row in reading:
        seen.append(row)
        if len(seen) in moments:
            pack(link)
    assert seen == rows


def chance_of(seed: int) -> int:
    """The length of an answer, from short ones to some that fill blocks."""
    return (1, 10, 100, 400, 700, 1000)[seed]


def test_running_batch_is_not_packed(link: RedisLink) -> None:
    """Only an end makes a log due; one that is due by mistake stays as it is, and is packed after its end."""
    batch, worker = create(link, 2), HandWorker(link)
    feed(link)
    worker.finish(worker.take())
    link.call("ZADD", f"{P}unpacked-batches", 1, batch)
    pack(link)
    assert log_type(link, batch) == "stream"
    worker.finish(worker.take())
    pack(link)
    assert log_type(link, batch) == "string"
    assert [each["kind"] for each in log_of_batch(link, batch)] == ["line", "line", "done"]


@pytest.mark.parametrize(
    "harm",
    [
        lambda link, log: link.call("DEL", log),
        lambda link, log: link.call("XDEL", log, "4-0"),
        lambda link, log: link.call("XADD", log, "99-0", "other", "field"),
        lambda link, log: link.pipeline([("DEL", log), ("LPUSH", log, "no log")]),
    ],
    ids=["missing", "no end", "no entry", "another type"],
)
def test_damaged_log_stays_as_it_is(link: RedisLink, harm: Callable[[RedisLink, str], object]) -> None:
    """A log without a readable end is not packed, and not tried again at every beat."""
    batch = ended(link, 3)
    harm(link, f"{P}batch:{batch}:log")
    kind = log_type(link, batch)
    assert pack(link) == 1
    assert (log_type(link, batch), link.call("HGET", f"{P}batch:{batch}", "packed")) == (kind, b"0")
    keep(link)
    assert (pack(link), staged(link)) == (0, [])


def test_log_that_is_too_large_stays_a_stream(link: RedisLink) -> None:
    """Beyond the limit nothing is left of the attempt."""
    batch = ended(link, 9, random.Random(1).randbytes(20_000).hex())
    packer = BatchPacker(shard_of(link), after_ms=0, at_most=BLOCK_BYTES)
    taken = packer.take()
    assert taken == EndedBatch(batch, 10)
    packer.pack(taken, lambda: None)
    assert (log_type(link, batch), staged(link)) == ("stream", [])


def test_damaged_block_is_a_gap(link: RedisLink) -> None:
    """A block that cannot be unpacked is missing entries, and those of the other blocks are there."""
    batch = ended(link, 12, "".join(chr(97 + n % 26) for n in range(30_000)))
    pack(link)
    link.call("SETRANGE", f"{P}batch:{batch}:log", 3, b"\xff" * 40)
    ids = [entry_id for entry_id, _raw in Batches(shards_of(link)).each_result(batch)]
    assert ids == list(range(ids[0], 14))
    assert 1 < ids[0] < 13
    reader = Follower(link).attach(Batches(shards_of(link)).look(batch, OWNER).as_log(), 0)
    rows, gap, _is_over = reader.take_rows(500)
    assert gap is not None
    assert (gap.requested, gap.earliest, rows[0][0]) == (1, ids[0], ids[0])
    reader.close()


def test_deleted_and_expired_batches_leave_the_index(link: RedisLink) -> None:
    """Neither is looked for again, and a packed log goes with its batch."""
    deleted, expired, packed = ended(link, 1), ended(link, 1), ended(link, 1)
    batches = Batches(shards_of(link))
    batches.delete(deleted, OWNER)
    link.call("DEL", *link.call("KEYS", f"*{expired}*"))
    link.call("ZADD", f"{P}kept", 1, f"{OWNER} {expired}")
    keep(link)
    assert link.call("ZRANGE", f"{P}unpacked-batches", 0, -1) == [packed.encode()]
    pack(link)
    batches.delete(packed, OWNER)
    with pytest.raises(BatchNotFound):
        batches.look(packed, OWNER)
    assert link.call("KEYS", f"*{packed}*") == []


def test_batch_deleted_while_it_is_packed(link: RedisLink) -> None:
    """It stays deleted, and nothing of the attempt is left."""
    batch, packer = ended(link, 3), BatchPacker(shard_of(link), after_ms=0)
    taken = packer.take()
    assert taken is not None
    deleted: list[int] = []

    def delete() -> None:
        if not deleted:
            deleted.append(1)
            Batches(shards_of(link)).delete(batch, OWNER)

    packer.pack(taken, delete)
    assert link.call("KEYS", f"*{batch}*") == []
    assert link.call("ZCARD", f"{P}unpacked-batches") == 0


def test_two_packers_of_one_log(link: RedisLink) -> None:
    """A packer whose lease ran out finds the log packed, and leaves it; both keep their own pieces."""
    batch, slow = ended(link, 30, "Say it again. " * 12), BatchPacker(shard_of(link), after_ms=0)
    taken, before, waits = slow.take(), view(link, batch), list[int]()
    assert taken is not None
    assert pack(link) == 0, "it is leased"

    def meanwhile() -> None:
        if not waits:
            waits.append(1)
            link.call("ZADD", f"{P}unpacked-batches", 1, batch)
            assert pack(link) == 1

    slow.pack(taken, meanwhile)
    assert (view(link, batch), staged(link), log_type(link, batch)) == (before, [], "string")


def test_staged_log_that_has_expired(link: RedisLink) -> None:
    """Pieces that expired before the last step are missing: the log stays a stream, and the keeper finds it again."""
    batch, packer = ended(link, 30, random.Random(1).randbytes(30_000).hex()), BatchPacker(shard_of(link), after_ms=0)
    taken, before = packer.take(), view(link, batch)
    assert taken is not None
    lost: list[bytes] = []

    def expire() -> None:
        if not lost and staged(link):
            lost.extend(staged(link))
            link.call("DEL", *lost)

    packer.pack(taken, expire)
    assert lost
    assert (view(link, batch), log_type(link, batch), staged(link)) == (before, "stream", [])
    for _round in range(99):
        keep(link)
    pack(link)
    assert (view(link, batch), log_type(link, batch)) == (before, "string")


def test_calls_that_are_sent_again_change_nothing(link: RedisLink, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each call of an attempt whose answer was lost is sent again, with the same result."""
    batch, shard = ended(link, 30, random.Random(2).randbytes(30_000).hex()), shard_of(link)
    before, run = view(link, batch), type(shard).run

    def twice(self: Shard, *args: Any) -> Any:
        run(self, *args)
        return run(self, *args)

    packer = BatchPacker(shard, after_ms=0)
    taken = packer.take()
    assert taken is not None
    monkeypatch.setattr(Shard, "run", twice)
    packer.pack(taken, lambda: None)
    monkeypatch.undo()
    assert (view(link, batch), log_type(link, batch), staged(link)) == (before, "string", [])


def test_end_of_an_older_version_is_packed(link: RedisLink) -> None:
    """The keeper's search finds batches that are in no index; the log of a batch without an end is left alone."""
    batch, running = ended(link, 2), create(link, 1)
    link.call("DEL", f"{P}unpacked-batches")
    assert pack(link) == 0
    keep(link)
    assert pack(link) == 1
    assert (log_type(link, batch), log_type(link, running)) == ("string", "none")


def test_index_that_has_something_else(link: RedisLink) -> None:
    """What is no batch's id leaves the index, and stops nothing."""
    batch = ended(link, 1)
    for name in ("nonsense", "b99-" + "0" * 26, batch[:-1]):
        link.call("ZADD", f"{P}unpacked-batches", 1, name)
    pack(link)
    assert (log_type(link, batch), link.call("ZCARD", f"{P}unpacked-batches")) == ("string", 0)


def test_answer_lost_after_the_swap(link: RedisLink, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next packer finds the log in its place."""
    batch, packer = ended(link, 5), BatchPacker(shard_of(link), after_ms=0)
    taken, before, run = packer.take(), view(link, batch), Shard.run
    assert taken is not None

    def loses(self: Shard, *args: Any) -> Any:
        if run(self, *args) == b"packed":
            raise OutcomeUnknown("lost")

    monkeypatch.setattr(Shard, "run", loses)
    with pytest.raises(OutcomeUnknown):
        packer.pack(taken, lambda: None)
    monkeypatch.undo()
    assert (pack(link), view(link, batch), log_type(link, batch)) == (0, before, "string")
