"""The feeder: a window in flight, each line once, whoever feeds."""

from __future__ import annotations

import pytest

from rig.batches import add, create, feed, feeder_of, lines_of, log_of_batch, new_line
from spool.batches.batch import BatchOptions
from spool.batches.line import BadLine, Line, job_id_of
from spool.batches.store import Batches
from spool.jobs.job import LINE, Priority
from spool.keys import prefix
from spool.redis.link import RedisLink
from tests.by_hand import OWNER, HandWorker, keep, kinds_of, record, restart, settle, shards_of, store_of, tokens, use

pytestmark = pytest.mark.one_shard
P = prefix(0)
WINDOW = 64


def queued(link: RedisLink, model: str = "demo") -> int:
    """The number of queued jobs of a model."""
    return int(link.call("ZCARD", f"{P}pending:{model}"))


def test_window_of_each_model(link: RedisLink) -> None:
    """So many lines of each model are jobs at a time; one model's do not hold up another's."""
    lines = [*lines_of(WINDOW + 9), *(Line(n, new_line(n, model="other")) for n in range(100, 105))]
    create(link, lines)
    feed(link)
    feed(link)
    assert (queued(link), queued(link, "other")) == (WINDOW, 5)


def test_next_lines_follow_ends(link: RedisLink) -> None:
    """When half of a window has ended, the next lines become jobs, in their order."""
    batch, worker = create(link, WINDOW + 40), HandWorker(link)
    feed(link)
    ids = []
    for _ in range(WINDOW // 2):
        claim = worker.take()
        ids.append(claim.job.batch_index)
        worker.finish(claim)
    assert queued(link) == WINDOW // 2
    feed(link)
    assert queued(link) == WINDOW
    while claim := worker.claim():
        ids.append(claim.job.batch_index)
        worker.finish(claim)
        feed(link)
    assert ids == list(range(WINDOW + 40))
    assert [entry["batch_index"] for entry in log_of_batch(link, batch)[:-1]] == ids


def test_line_fed_twice_is_one_job(link: RedisLink) -> None:
    """A line becomes a job once, also if its job is gone when it is fed again; a later line never overtakes it."""
    batch, store = create(link, 3), store_of(link)
    jobs = [
        new_line(n, id=job_id_of(batch, n), batch=batch, line=f"0:{n}", priority=Priority.BATCH, ttl_s=60)
        for n in range(3)
    ]
    assert store.feed([jobs[1]]) == [b"early"]
    assert store.feed(jobs[:2]) == [b"created", b"created"]
    assert store.feed(jobs) == [b"again", b"again", b"created"]
    link.call("DEL", f"{P}job:{jobs[0].id}")
    assert store.feed(jobs) == [b"fed", b"again", b"again"]


@pytest.mark.parametrize("damage", [("HDEL", "fed:0"), ("HSET", "fed:0", "0"), ("HSET", "fed:0", "x")], ids=" ".join)
def test_lost_counter_gives_no_line_twice(link: RedisLink, damage: tuple[str, ...]) -> None:
    """A lane whose counter was deleted or changed goes on where it was, also for lines that end without a job."""
    batch, worker = create(link, [*lines_of(2), BadLine(2, 3, "invalid_request", "is wrong")]), HandWorker(link)
    feed(link)
    worker.finish(worker.take())
    command, *rest = damage
    for lane in ("0", "1"):
        link.call(command, f"{P}batch:{batch}", *(each.replace("fed:0", f"fed:{lane}") for each in rest))
    feed(link)
    worker.finish(worker.take())
    feed(link)
    assert worker.claim() is None
    entries = log_of_batch(link, batch)
    assert sorted(entry["batch_index"] for entry in entries[:-1]) == [0, 1, 2]
    assert entries[-1]["kind"] == "done"


def test_stopped_batch_feeds_nothing(link: RedisLink) -> None:
    """A line of a batch that was stopped, or that does not exist, becomes no job."""
    batch, store = create(link, 1), store_of(link)
    job = new_line(0, id=job_id_of(batch, 0), batch=batch, line="0:0")
    link.call("HSET", f"{P}batch:{batch}", "stop", "expired")
    assert store.feed([job]) == [b"stopped"]
    link.call("DEL", f"{P}batch:{batch}")
    assert store.feed([job]) == [b"no_batch"]


def test_reservation_follows_the_lines(link: RedisLink) -> None:
    """What an owner uses is the same before and after its lines are jobs; once it has ended, only bytes."""
    batch, worker = create(link, 3), HandWorker(link)
    before = use(link)["queued"]
    feed(link)
    assert (before, use(link)["queued"]) == (3, 3)
    while claim := worker.claim():
        worker.finish(claim)
    assert (use(link)["queued"], use(link)["running"]) == (0, 0)
    jobs = use(link)["bytes"]
    Batches(shards_of(link)).delete(batch, OWNER)
    assert jobs > use(link)["bytes"]
    assert link.call("HEXISTS", f"{P}ledger", batch) == 0


def test_results_count_as_bytes_of_the_owner(link: RedisLink) -> None:
    """What a batch's log takes counts while it runs, and until it expires."""
    batch, worker = create(link, 2), HandWorker(link)
    feed(link)
    before, text = use(link)["bytes"], "x" * 300_000
    claim = worker.take()
    worker.append(claim, 2, tokens(2, text), text=text)
    worker.finish(claim)
    link.call("DEL", *(f"{P}job:{claim.job.id}{suffix}" for suffix in ("", ":log", ":text", ":input")))
    keep(link)
    feed(link)
    assert use(link)["bytes"] > before + 290_000
    worker.finish(worker.take())
    assert use(link)["bytes"] > 290_000
    keep(link)
    link.call("ZADD", f"{P}kept", 1, f"{OWNER} {batch}")
    keep(link)
    assert use(link).get("bytes", 0) < 290_000


def test_one_process_feeds(link: RedisLink) -> None:
    """While one process feeds, another gets nothing to do."""
    create(link, 1)
    first = feeder_of(link)
    for name in ("feeder:lock", "open-feeder:lock"):
        link.call("SET", f"{P}{name}", "another", "PX", 60_000)
    first.beat(lambda _s: None)
    assert queued(link) == 0


def test_open_batches_beside_an_older_feeder(link: RedisLink) -> None:
    """While a feeder of a version without open batches feeds, their lines still become jobs, window after window."""
    batch, worker = create(link, 0, options=BatchOptions(is_open=True)), HandWorker(link)
    add(link, batch, 0, WINDOW + 9)
    feeder = feeder_of(link)
    link.call("SET", f"{P}feeder:lock", "older", "PX", 60_000)
    for _ in range(2):
        feeder.beat(lambda _s: None)
        while claim := worker.claim():
            worker.finish(claim)
    assert Batches(shards_of(link)).look(batch, OWNER).counts["succeeded"] == WINDOW + 9


def test_line_waits_for_newer_processes(link: RedisLink) -> None:
    """A line's job has a schema that versions without logs of batches leave alone."""
    create(link, 1)
    feed(link)
    assert record(link, HandWorker(link).take().job.id)["schema"] == str(LINE)


@pytest.mark.parametrize("keep_jobs", [False, True])
def test_jobs_that_are_kept(link: RedisLink, keep_jobs: bool) -> None:
    """With ``keep_jobs`` an ended job stays as long as any other, and its log is packed."""
    create(link, 1, options=BatchOptions(keep_jobs=keep_jobs))
    feed(link)
    worker = HandWorker(link)
    claim = worker.take()
    worker.finish(claim)
    assert (link.call("PTTL", f"{P}job:{claim.job.id}") > 60_000) is keep_jobs
    assert (link.call("ZSCORE", f"{P}unpacked", claim.job.id) is not None) is keep_jobs


def test_result_has_the_whole_answer(link: RedisLink) -> None:
    """A line's entry has text, reasoning, tool calls, usage and the client's name of the line."""
    batch, worker = create(link, lines_of(1, metadata={"a": "b"})), HandWorker(link)
    feed(link)
    claim = worker.take()
    said = [
        b'{"id":2,"kind":"reasoning","at":"","text":"hm \\"so\\""}',
        *tokens(3, "a/b\n\u00e9"),
        b'{"id":4,"kind":"tool_call","at":"","index":0,"call_id":"c","name":"f","arguments":"{\\"x\\":"}',
        b'{"id":5,"kind":"tool_call","at":"","index":0,"call_id":null,"name":null,"arguments":"1}"}',
    ]
    worker.append(claim, 2, said[:1])
    worker.append(claim, 3, said[1:2], text="a/b\n\u00e9")
    worker.append(claim, 4, said[2:], plain=False)
    worker.finish(claim)
    line, end = log_of_batch(link, batch)
    assert (line["content"], line["reasoning"]) == ("a/b\n\u00e9", 'hm "so"')
    assert line["tool_calls"] == [{"id": "c", "name": "f", "arguments": '{"x":1}'}]
    assert (line["usage"], line["finish_reason"], line["error"]) == ({"output_tokens": 2}, "stop", None)
    assert (line["custom_id"], line["metadata"], line["job"]) == ("c0", {"a": "b"}, claim.job.id)
    assert (end["kind"], end["counts"]["succeeded"], end["id"]) == ("done", 1, 2)


def test_long_answer_is_whole(link: RedisLink) -> None:
    """A line's entry has all of an answer of very many entries, up to its last one."""
    batch, worker, count = create(link, 1), HandWorker(link), 20_600
    feed(link)
    claim = worker.take()
    said = [b'{"id":%d,"kind":"reasoning","at":"","text":"x"}' % n for n in range(2, count)]
    said += [b'{"id":%d,"kind":"reasoning","at":"","text":%s}' % (count, rb'"\\\"/\n\u00e9"')]
    worker.append(claim, 2, said)
    worker.finish(claim)
    assert log_of_batch(link, batch)[0]["reasoning"] == "x" * (count - 2) + '\\"/\n\u00e9'


@pytest.mark.parametrize("damage", ["block", "index"])
def test_damaged_lines_end(link: RedisLink, damage: str) -> None:
    """Lines that cannot be read fail, each under an id of its own, so that the batch ends with every line."""
    batch = create(link, 70)
    link.call("HSET", f"{P}batch:{batch}:lines", "0:0" if damage == "block" else "index", "no zlib")
    feed(link)
    feed(link)
    entries = log_of_batch(link, batch)
    assert [entry["status"] for entry in entries[:-1]] == ["failed"] * 70
    assert len({entry["job"] for entry in entries[:-1]}) == 70
    assert entries[-1]["counts"]["failed"] == 70


def test_first_lines_are_fed_at_once(link: RedisLink) -> None:
    """A web feeds the first lines of a batch itself."""
    batch = create(link, 9)
    assert feeder_of(link).feed(batch, [9], 5) == 5
    assert queued(link) == 5
    assert store_of(link).look(job_id_of(batch, 0), OWNER).owner == OWNER
    assert len(shards_of(link)) == 1


FIELDS = (
    "total",
    "ended",
    "last",
    "lanes",
    "size:0",
    "fed:0",
    "owner",
    "stop",
    "expires_ms",
    "queued",
    "status",
    "run_id",
)


@pytest.mark.parametrize("value", [None, b"\xff no number"], ids=["missing", "wrong"])
@pytest.mark.parametrize("field", FIELDS)
def test_damaged_batch_is_its_own(link: RedisLink, field: str, value: bytes | None) -> None:
    """Whatever is wrong with a record, other batches are fed and end; after its time the batch ends or expires."""
    broken, worker = create(link, 5, batch_id="b0-" + "0" * 26), HandWorker(link)
    feeder_of(link).feed(broken, [5], 3)
    worker.finish(worker.take())
    other = create(link, 1, batch_id="b0-" + "z" * 26)
    key = f"{P}batch:{broken}"
    link.call(*(("HDEL", key, field) if value is None else ("HSET", key, field, value)))
    serve_all(link, worker)
    assert Batches(shards_of(link)).look(other, OWNER).is_ended
    if field != "expires_ms":
        link.call("HSET", key, "expires_ms", 1)
    serve_all(link, worker)
    assert link.call("PTTL", key) > 0
    assert link.call("ZCARD", f"{P}feeding") == 0
    indexes = [entry["batch_index"] for entry in log_of_batch(link, broken) if entry["kind"] == "line"]
    assert field == "fed:0" or len(indexes) == len(set(indexes)) <= 5


@pytest.mark.parametrize("suffix", ["", ":log", ":lines", ":flight:0"])
def test_replaced_key_of_a_batch_is_its_own(link: RedisLink, suffix: str) -> None:
    """A key of another type in the place of one of a batch's holds up no other batch, and jobs end."""
    broken, worker = create(link, 5, batch_id="b0-" + "0" * 26), HandWorker(link)
    feeder_of(link).feed(broken, [5], 3)
    other = create(link, 1, batch_id="b0-" + "z" * 26)
    key = f"{P}batch:{broken}{suffix}"
    link.call("DEL", key)
    link.call("SET", key, "no batch")
    serve_all(link, worker)
    assert Batches(shards_of(link)).look(other, OWNER).is_ended
    assert link.call("ZCARD", f"{P}pending:demo") == 0


def serve_all(link: RedisLink, worker: HandWorker) -> None:
    """Feed, claim and end all that there is."""
    for _ in range(3):
        feed(link)
        while claim := worker.claim():
            worker.finish(claim)


@pytest.mark.parametrize("field", ["lane", "batch", "batch_index", "owner"])
def test_line_of_a_damaged_job_ends(link: RedisLink, field: str) -> None:
    """A job that has lost what leads to its batch ends its line all the same."""
    batch, worker = create(link, 3), HandWorker(link)
    feed(link)
    claim = worker.take()
    link.call("HDEL", f"{P}job:{claim.job.id}", field)
    worker.finish(claim)
    serve_all(link, worker)
    found = Batches(shards_of(link)).look(batch, OWNER)
    assert (found.is_ended, sum(found.counts.values())) == (True, 3)
    assert [entry["kind"] for entry in log_of_batch(link, batch)] == ["line"] * 3 + ["done"]


def test_log_jumps_after_a_restart(link: RedisLink) -> None:
    """After a restart of Redis the next line has an id that no reader can have seen, behind an entry that says why."""
    batch, worker = create(link, 3), HandWorker(link)
    feed(link)
    worker.finish(worker.take())
    link.call("HSET", f"{P}batch:{batch}", "run_id", "an earlier one")
    serve_all(link, worker)
    entries = log_of_batch(link, batch)
    assert [entry["kind"] for entry in entries] == ["line", "restarted", "line", "line", "done"]
    ids = [entry["id"] for entry in entries]
    assert ids[1] >= 500_000
    assert ids[2:] == [ids[1] + n for n in (1, 2, 3)]
    assert sorted(entry["batch_index"] for entry in entries if entry["kind"] == "line") == [0, 1, 2]
    assert Batches(shards_of(link)).look(batch, OWNER).last_entry == ids[-1]


def test_fed_again_after_a_restart(link: RedisLink) -> None:
    """A job that Redis may have lost begins as one that has lost history if a worker of that time is silent."""
    create(link, 1)
    worker = HandWorker(link)
    HandWorker(link, name="silent").beat()
    restart(link)
    keep(link)
    settle(link)
    feed(link)
    claim = worker.take()
    assert kinds_of(link, claim.job.id) == ["restarted"]
    assert claim.job.last_entry >= 500_000
