"""The packer: every reader's view of an ended job is the same before and after its log is packed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from spool.errors import JobGone, JobNotFound
from spool.following.follower import Follower
from spool.jobs.conversation_blocks import BLOCK_BYTES, divide
from spool.jobs.entries import Kind, encode_text
from spool.jobs.job import PACKED, Job, OnWorkerLoss
from spool.jobs.log import Logs
from spool.jobs.packed_log import PackedLogs
from spool.jobs.packed_text import with_packed_text
from spool.jobs.packer import Packer
from spool.jobs.packing import TAIL_BYTES
from spool.jobs.scripts import script
from spool.jobs.store import Sizes
from spool.keys import job as job_key
from spool.keys import prefix
from spool.redis.link import RedisLink
from tests.by_hand import AT, OWNER, HandWorker, done, keep, ledger_of, record, shards_of, store_of, submit

PROMPT = {"messages": [{"role": "user", "content": "Say it again. " * 40}], "params": {}}


def pack(link: RedisLink, *, rests: list[float] | None = None) -> int:
    """Pack everything that is due on all shards; the number of jobs that were tried."""
    seen: list[float] = [] if rests is None else rests
    count = 0
    for shard in shards_of(link):
        packer = Packer(shard, after_s=0)
        while tried := packer.beat(seen.append):
            count += tried
    return count


def ended(link: RedisLink, *texts: str, **fields: Any) -> Job:
    """A job that has ended with these tokens."""
    worker = HandWorker(link)
    claim = worker.take_job(submit(link, **fields).id)
    for at in range(0, len(texts), 400):
        worker.say(claim, *texts[at : at + 400])
    worker.finish(claim)
    return store_of(link).look(claim.job.id, OWNER)


def log_type(link: RedisLink, job: Job) -> str:
    """The type of the log's key."""
    return str(link.call("TYPE", f"{job_key(job.id)}:log").decode())


def words(count: int) -> list[str]:
    """Tokens of one to four bytes a character."""
    return [f"{('word', 'é', '日本', '🧵')[n % 4]} {n}\n" for n in range(count)]


def view(link: RedisLink, job_id: str) -> dict[str, Any]:
    """All that a web reads of a job."""
    store, logs = store_of(link), Logs(shards_of(link).of_job(job_id).link)
    job = store.look(job_id, OWNER, with_text=True)
    cut = store.look(job_id, OWNER, with_text=True, text_bytes=10)
    pages: list[Any] = []
    after = 0
    while rows := logs.read(job_id, after):
        pages += rows
        after = rows[-1][0]
    return {
        "job": replace(job, is_packed=False),
        "cut": cut.text,
        "text_bytes": cut.text_bytes,
        "rest": "".join(store.rest_of_text(cut)),
        "list": [one.text for one in store.look_many([job_id], OWNER, with_text=True, text_bytes=7)],
        "input": store.input_of(job_id),
        "sizes": store.sizes(job_id),
        "rows": pages,
        "newest": [store.before_last(job_id, count) for count in (0, 1, 3, 5000)],
        "page": logs.read(job_id, 2, 3),
    }


@pytest.mark.parametrize("count", [0, 3, 1021, 2500])
def test_view_is_the_same(link: RedisLink, count: int) -> None:
    """Ids, bytes, text, input and sizes do not change when a log is packed, whatever its number of blocks."""
    job = ended(link, *words(count), input=PROMPT)
    before = view(link, job.id)
    assert pack(link) == 1
    assert log_type(link, job) == "string"
    assert view(link, job.id) == before
    assert len(before["rows"]) == count + 2


def test_packed_job_has_no_second_text(link: RedisLink) -> None:
    """Text and log are stored once, the input is compressed, and what is left expires with the record."""
    job, key = ended(link, *words(300), input=PROMPT), ""
    key = job_key(job.id)
    sizes = [link.call("MEMORY", "USAGE", f"{key}:{part}") for part in ("log", "input")]
    pack(link)
    assert link.call("EXISTS", f"{key}:text") == 0
    packed = [link.call("MEMORY", "USAGE", f"{key}:{part}") for part in ("log", "input")]
    assert packed[0] < sizes[0] / 8
    assert packed[1] < sizes[1] / 2
    expiries = {link.call("PEXPIRETIME", name) for name in (key, f"{key}:log", f"{key}:input")}
    assert len(expiries) == 1 or max(expiries) - min(expiries) <= 1
    assert min(expiries) > 0
    assert record(link, job.id)["schema"] == "4"


def test_owner_is_booked_with_what_is_left(link: RedisLink) -> None:
    """The owner's bytes shrink by what packing saves, and the ledger's sums agree."""
    job = ended(link, *words(500))
    shard = int(job.id[1])
    before = ledger_of(link, shard)
    pack(link)
    after = ledger_of(link, shard)
    saved = before[job.id][2] - after[job.id][2]
    assert saved > 40_000
    assert before["sum"][2] - after["sum"][2] == before[f"sum:{OWNER}"][2] - after[f"sum:{OWNER}"][2] == saved


def test_log_with_jumps_and_attempts(link: RedisLink) -> None:
    """A log that jumped after lost history, and text of an earlier attempt that no longer counts, stay as they are."""
    worker = HandWorker(link)
    claim = worker.take_job(submit(link).id)
    worker.say(claim, "lost ", "text")
    link.call("HSET", job_key(claim.job.id), "server", "another run", "torn", 1)
    worker.claims.hand_back(claim.job.id, claim.fence, counts=False)
    again = worker.take_job(claim.job.id)
    worker.say(again, "kept ", "text")
    worker.finish(again)
    before = view(link, claim.job.id)
    assert before["rows"][-1][0] > 500_000
    pack(link)
    assert log_type(link, claim.job) == "string"
    assert view(link, claim.job.id) == before
    assert before["job"].text == "kept text"


def test_text_that_the_log_does_not_give_stays(link: RedisLink) -> None:
    """If the stored text is another one, for whatever reason, it is kept beside the packed log."""
    job = ended(link, "one", "two")
    link.call("SETRANGE", f"{job_key(job.id)}:text", 0, "ONE")
    before = view(link, job.id)
    pack(link)
    assert log_type(link, job) == "string"
    assert link.call("GET", f"{job_key(job.id)}:text") == b"ONEtwo"
    assert view(link, job.id) == before


@pytest.mark.parametrize(
    "harm",
    [
        lambda link, log: link.call("DEL", log),
        lambda link, log: link.call("XTRIM", log, "MAXLEN", 0),
        lambda link, log: link.call("XDEL", log, "4-0"),
        lambda link, log: link.call("XADD", log, "99-0", "other", "field"),
        lambda link, log: link.pipeline([("DEL", log), ("LPUSH", log, "no log")]),
    ],
    ids=["missing", "empty", "no end", "no entry", "another type"],
)
def test_damaged_log_stays_as_it_is(link: RedisLink, harm: Callable[[RedisLink, str], object]) -> None:
    """A log without a readable end is not packed, and not tried again at every beat."""
    job = ended(link, "one", "two")
    log = f"{job_key(job.id)}:log"
    harm(link, log)
    kind = log_type(link, job)
    assert pack(link) == 1
    assert log_type(link, job) == kind
    assert record(link, job.id)["packed"] == "0"
    keep(link)
    assert pack(link) == 0


def test_log_with_a_hole_keeps_it(link: RedisLink) -> None:
    """Entries that Redis lost are missing in the packed log, too, so that readers get the same gap."""
    job = ended(link, *words(9))
    link.call("XDEL", f"{job_key(job.id)}:log", "5-0")
    before = Logs(link).read(job.id, 0)
    pack(link)
    assert log_type(link, job) == "string"
    assert Logs(link).read(job.id, 0) == before
    assert [entry_id for entry_id, _raw in before] == [1, 2, 3, 4, 6, 7, 8, 9, 10, 11]


def test_running_job_is_not_packed(link: RedisLink) -> None:
    """Only an end makes a log due; one that is due by mistake stays as it is."""
    worker = HandWorker(link)
    claim = worker.take_job(submit(link).id)
    worker.say(claim, "a")
    assert pack(link) == 0
    link.call("ZADD", f"{prefix(int(claim.job.id[1]))}unpacked", 1, claim.job.id)
    assert pack(link) == 1
    assert log_type(link, claim.job) == "stream"
    worker.finish(claim)
    assert pack(link) == 1
    assert log_type(link, claim.job) == "string"


def test_log_is_packed_after_its_time(link: RedisLink) -> None:
    """A log is due ``after_s`` after the end and not before."""
    job = ended(link, "a")
    shard = shards_of(link).of_job(job.id)
    assert Packer(shard, after_s=3600).beat(lambda _s: None) == 0
    link.call("ZADD", shard.key("unpacked"), 1, job.id)
    assert Packer(shard, after_s=3600).beat(lambda _s: None) == 1
    assert log_type(link, job) == "string"


def test_leased_log_is_left_to_its_worker(link: RedisLink) -> None:
    """Two packers do not pack one log; a log whose packer died is packed once its lease is over."""
    job = ended(link, "a")
    shard = shards_of(link).of_job(job.id)
    dies = Packer(shard, after_s=0)
    assert len(dies._take()) == 1
    assert pack(link) == 0
    link.call("ZADD", shard.key("unpacked"), 1, job.id)
    assert pack(link) == 1
    assert log_type(link, job) == "string"


def test_repeated_swap_changes_nothing(link: RedisLink) -> None:
    """A packer whose lease ran out while it worked finds the log packed, and leaves it."""
    job = ended(link, *words(20))
    shard = shards_of(link).of_job(job.id)
    slow, waits = Packer(shard, after_s=0), []
    (taken,) = slow._take()

    def meanwhile(_seconds: float) -> None:
        if not waits:
            waits.append(1)
            link.call("ZADD", shard.key("unpacked"), 1, job.id)
            assert pack(link) == 1

    before = view(link, job.id)
    slow._pack(taken, meanwhile)
    assert view(link, job.id) == before
    assert log_type(link, job) == "string"


def test_older_worker_stops_packing(link: RedisLink) -> None:
    """While a worker lives that cannot read packed logs, none is packed."""
    job = ended(link, "a")
    for shard in shards_of(link):
        shard.link.call("ZADD", shard.key("workers"), 9e12, "host:1:abc123")
        shard.link.call("ZADD", shard.key("workers"), 9e12, "host:2:p-abc123")
    assert pack(link) == 0
    assert log_type(link, job) == "stream"
    for shard in shards_of(link):
        shard.link.call("ZREM", shard.key("workers"), "host:1:abc123")
    assert pack(link) == 1


def test_older_version_refuses_a_packed_job(link: RedisLink) -> None:
    """Scripts and records of the version before refuse the job, instead of showing it without text."""
    job = ended(link, "a", on_worker_loss=OnWorkerLoss.FAIL)
    pack(link)
    shard = shards_of(link).of_job(job.id)
    assert shard.run(script("delete", PACKED - 1), job.id, OWNER) == b"newer"
    assert shard.run(script("end_damaged", PACKED - 1), job.id, OWNER, "undecodable") == b"newer"
    with pytest.raises(ValueError, match="packed"):
        OnWorkerLoss(record(link, job.id)["on_worker_loss"])
    assert store_of(link).look(job.id, OWNER).on_worker_loss is OnWorkerLoss.FAIL


def test_job_deleted_while_it_is_packed(link: RedisLink) -> None:
    """A deleted job stays deleted, and nothing of it is left."""
    job = ended(link, *words(20))
    shard = shards_of(link).of_job(job.id)
    packer = Packer(shard, after_s=0)
    (taken,) = packer._take()
    deleted: list[int] = []

    def delete(_seconds: float) -> None:
        if not deleted:
            deleted.append(1)
            store_of(link).delete(job.id, OWNER)

    packer._pack(taken, delete)
    with pytest.raises(JobGone):
        store_of(link).look(job.id, OWNER)
    assert link.call("KEYS", f"*{job.id}*") == [f"{job_key(job.id)}:gone".encode()]
    assert link.call("ZCARD", shard.key("unpacked")) == 0


def test_deleted_and_expired_jobs_leave_the_index(link: RedisLink) -> None:
    """Neither is looked for again."""
    deleted, expired = ended(link, "a"), ended(link, "b", ttl_s=1)
    store_of(link).delete(deleted.id, OWNER)
    for shard in shards_of(link):
        for member in link.call("ZRANGE", shard.key("kept"), 0, -1):
            link.call("ZADD", shard.key("kept"), 1, member)
    link.call("DEL", job_key(expired.id))
    keep(link)
    assert [link.call("ZCARD", shard.key("unpacked")) for shard in shards_of(link)] == [0] * len(shards_of(link))


def test_packed_job_can_be_deleted(link: RedisLink) -> None:
    """Deletion leaves the tombstone alone."""
    job = ended(link, *words(5))
    pack(link)
    store_of(link).delete(job.id, OWNER)
    with pytest.raises((JobGone, JobNotFound)):
        store_of(link).look(job.id, OWNER)
    assert link.call("KEYS", f"*{job.id}*") == [f"{job_key(job.id)}:gone".encode()]


def test_end_of_an_older_version_is_packed(link: RedisLink) -> None:
    """The keeper's search finds ended jobs that are in no index."""
    job = ended(link, "a")
    for shard in shards_of(link):
        link.call("DEL", shard.key("unpacked"))
    assert pack(link) == 0
    keep(link)
    assert pack(link) == 1
    assert log_type(link, job) == "string"


def test_damaged_record_of_a_packed_job(link: RedisLink) -> None:
    """The packed log says where it ends, so the record is repaired and the log can still be read."""
    job = ended(link, *words(5))
    pack(link)
    before = view(link, job.id)
    link.call("HSET", job_key(job.id), "last", "many", "seq", "first")
    assert view(link, job.id) == before
    assert record(link, job.id)["last"] == "7"


def test_turn_that_continues_a_packed_one(link: RedisLink) -> None:
    """Blocks of the conversation are read as before."""
    said = [{"role": "user", "content": "x" * BLOCK_BYTES}, {"role": "user", "content": "y " * 500}]
    job = ended(link, "answer", input={"messages": said, "params": {}}, divided=divide(said[:1]))
    before = view(link, job.id)
    pack(link)
    assert view(link, job.id) == before
    assert before["input"]["messages"] == said
    assert isinstance(before["sizes"], Sizes)


def test_packing_rests_between_its_steps(link: RedisLink) -> None:
    """No step handles more than a part of a block, and a pause of several times its length follows each."""
    rests: list[float] = []
    ended(link, *words(1500))
    pack(link, rests=rests)
    assert len(rests) > 12
    assert all(rest > 0 for rest in rests)


def test_long_input_rests_too(link: RedisLink) -> None:
    """Compressing a megabyte at once would hold up all tokens of the worker."""
    rests: list[float] = []
    job = ended(link, "a", input={"messages": [{"role": "user", "content": "many words " * 90_000}], "params": {}})
    before = view(link, job.id)
    pack(link, rests=rests)
    assert len(rests) > 50
    assert view(link, job.id) == before


def test_index_that_has_something_else(link: RedisLink) -> None:
    """What is no job's id leaves the index, and stops nothing."""
    job = ended(link, "a")
    for shard in shards_of(link):
        for name in ("nonsense", "j99-" + "0" * 26, job.id[:-1]):
            link.call("ZADD", shard.key("unpacked"), 1, name)
    pack(link)
    assert log_type(link, job) == "string"
    assert [link.call("ZCARD", shard.key("unpacked")) for shard in shards_of(link)] == [0] * len(shards_of(link))


@pytest.fixture
def readers(link: RedisLink) -> Iterator[Callable[[Job, int], Any]]:
    """Readers of a follower that is not started: they read what is stored."""
    follower = Follower(link)
    yield lambda job, after: follower.attach(job, after)
    assert not follower.readers


def test_reader_notices_nothing(link: RedisLink, readers: Callable[[Job, int], Any]) -> None:
    """Readers that stand anywhere in the log while it is packed get the same entries as before, once each."""
    job, chance = ended(link, *words(1300)), random.Random(4)
    rows = view(link, job.id)["rows"]
    standing = [readers(job, chance.randrange(len(rows))) for _ in range(30)]
    seen: dict[Any, list[Any]] = {reader: [] for reader in standing}
    begun = {reader: reader.cursor for reader in standing}
    packed = False
    while any(seen[reader][-1:] != rows[-1:] for reader in standing):
        for reader in standing:
            taken, gap, _ended = reader.take_rows(chance.randint(1, 400))
            assert gap is None
            seen[reader] += taken
        if not packed:
            packed = pack(link) == 1
    for reader in standing:
        assert seen[reader] == rows[begun[reader] :]
        reader.close()


def test_crowd_unpacks_a_block_once(link: RedisLink, readers: Callable[[Job, int], Any]) -> None:
    """Two hundred readers that replay one packed log share its blocks."""
    job = ended(link, *words(2200))
    pack(link)
    crowd = [readers(store_of(link).look(job.id, OWNER), after) for after in range(200)]
    for reader in crowd:
        count = 0
        while True:
            taken, _gap, is_over = reader.take_rows(500)
            count += len(taken)
            if is_over:
                break
        assert count == 2202 - (reader.cursor - count)
    assert crowd[0]._pages._logs._packed.unpacked <= 6
    for reader in crowd:
        reader.close()


def test_rest_of_a_text_that_was_packed_meanwhile(link: RedisLink) -> None:
    """A poll that has the beginning gets the rest, to the byte, although the text is elsewhere by now."""
    job = ended(link, *words(900))
    whole = view(link, job.id)["job"].text
    store = store_of(link)
    for at_most in (1, 11, 1000, 5001):
        cut = store.look(job.id, OWNER, with_text=True, text_bytes=at_most)
        rest = store.rest_of_text(cut)
        if at_most == 1:
            pack(link)
        assert (cut.text or "") + "".join(rest) == whole


def test_text_of_a_job_deleted_meanwhile(link: RedisLink) -> None:
    """A job that is deleted between the look and the read of its blocks is gone; its text is not empty."""
    chance = random.Random(5)
    job = ended(link, *[chance.randbytes(16).hex() for _ in range(2000)])
    pack(link)
    shard = shards_of(link).of_job(job.id)
    tail = shard.link.call("GETRANGE", f"{job_key(job.id)}:log", -TAIL_BYTES, -1)
    assert len(tail) == TAIL_BYTES
    assert len(with_packed_text(shard.link, job, tail, -1).text or "") == 64_000
    store_of(link).delete(job.id, OWNER)
    with pytest.raises(JobGone):
        with_packed_text(shard.link, job, tail, -1)


def test_few_logs_are_kept(link: RedisLink) -> None:
    """A process keeps the logs that it read last, however many others it has read."""
    jobs = [ended(link, "a") for _ in range(3)]
    pack(link)
    logs = PackedLogs(shards_of(link).of_job(jobs[0].id).link, logs_at_most=2)
    for job in jobs:
        assert len(logs.read(job.id, 0, 9) or ()) == 3
    assert [logs.is_known(job.id) for job in jobs] == [False, True, True]
    assert logs._blocks.keys() == {(job.id, 0) for job in jobs[1:]}


def test_damaged_packed_log_is_a_gap(link: RedisLink, readers: Callable[[Job, int], Any]) -> None:
    """Blocks that cannot be unpacked are missing entries: a gap, and the end."""
    job = ended(link, *words(50))
    pack(link)
    link.call("SETRANGE", f"{job_key(job.id)}:log", 3, b"\xff" * 40)
    reader = readers(store_of(link).look(job.id, OWNER), 0)
    rows, gap, is_over = reader.take_rows(500)
    assert (rows, is_over) == ([], True)
    assert gap is not None
    reader.close()
    assert store_of(link).look(job.id, OWNER, with_text=True).text == ""


def test_log_longer_than_one_read(link: RedisLink) -> None:
    """A packed log that the first read brings in part is read whole."""
    worker = HandWorker(link)
    claim = worker.take_job(submit(link).id)
    entries = [encode_text(n, Kind.TOKEN, AT, f"{random.Random(n).randbytes(4000).hex()}") for n in range(2, 42)]
    for raw in entries:
        worker.append(claim, int(raw.split(b",")[0][6:]), [raw], text="")
    worker.append(claim, 42, [done(42)], ending=b'{"status": "succeeded"}')
    rows = Logs(link).read(claim.job.id, 0)
    pack(link)
    assert log_type(link, claim.job) == "string"
    assert link.call("STRLEN", f"{job_key(claim.job.id)}:log") > 64 * 1024
    assert Logs(link).read(claim.job.id, 0) == rows
    assert [raw for _n, raw in rows[1:-1]] == entries
