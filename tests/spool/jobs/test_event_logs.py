"""Events of an owner (lua/lib/events.lua): the scripts that change a job's state write them, while they are read."""

from __future__ import annotations

import itertools
from typing import Any

import orjson
import pytest

from rig.batches import create, feed
from spool.batches.batch import BatchOptions
from spool.batches.pieces import Pieces
from spool.batches.store import Batches
from spool.errors import StoreRefusesWrites
from spool.following.feed import Feed
from spool.following.follower import Follower
from spool.jobs.event_logs import KEPT_S, begin, events_as_log, log_of_events, owner_of_events, watch
from spool.jobs.log import Logs
from spool.keys import prefix
from spool.redis.link import RedisLink
from tests.by_hand import OWNER, HandWorker, shards_of, store_of, submit

KEY = f"{prefix(0)}events:{OWNER}"


def events(link: RedisLink, owner: str = OWNER) -> list[dict[str, Any]]:
    """The owner's events, oldest first."""
    return [orjson.loads(raw) for _id, raw in Logs(link).read(log_of_events(owner), 0)]


def kinds(link: RedisLink, owner: str = OWNER) -> list[str]:
    """The kinds of the owner's events, oldest first."""
    return [event["kind"] for event in events(link, owner)]


def test_events_are_read_while_writes_are_refused(link: RedisLink) -> None:
    """Where they are kept already; else nothing could keep them from now on."""
    last = begin(link, OWNER)
    submit(link)
    link.call("CONFIG", "SET", "min-replicas-to-write", 1)
    try:
        assert begin(link, OWNER) == last + 1
        with pytest.raises(StoreRefusesWrites):
            begin(link, "bob")
    finally:
        link.call("CONFIG", "SET", "min-replicas-to-write", 0)


def test_life_of_a_job_is_its_events(link: RedisLink) -> None:
    """Each change of a job's state is one event with the record after it, under consecutive ids."""
    (last,) = watch(link, [OWNER])
    worker, job = HandWorker(link), submit(link, metadata={"k": "v"})
    claim = worker.take()
    worker.claims.hand_back(claim.job.id, claim.fence, counts=False)
    worker.finish(worker.take())
    before = events(link)
    store_of(link).delete(job.id, OWNER)
    found = events(link)
    expected = ["queued", "started", "queued", "started", "succeeded", "deleted"]
    assert [event["kind"] for event in found] == [f"job.{kind}" for kind in expected]
    assert [event["id"] for event in found] == list(range(last + 1, last + 7))
    assert {event["job"] for event in found} == {job.id}
    ended = before[4]["record"]
    assert (ended["status"], ended["attempt"], ended["metadata"]) == ("succeeded", "2", '{"k":"v"}')
    assert ended["ended_ms"] >= ended["started_ms"] >= ended["created_ms"]


def test_cancels_are_events(link: RedisLink) -> None:
    """A queued job is cancelled at once; of a running one the request is an event, once, and its end another."""
    watch(link, [OWNER])
    store, worker = store_of(link), HandWorker(link)
    claim = worker.take_job(submit(link).id)
    for _ in range(2):
        store.cancel(claim.job.id, OWNER)
    worker.append(claim, claim.first, [])
    store.cancel(submit(link).id, OWNER)
    assert [kind.removeprefix("job.") for kind in kinds(link)] == [
        *("queued", "started", "cancelling", "cancelled", "queued", "cancelled")
    ]


def test_events_of_others_are_not_written(link: RedisLink) -> None:
    """Without a reader of an owner's events, none of its jobs writes one; and each owner has its own."""
    watch(link, [OWNER])
    submit(link, owner="bob")
    assert kinds(link) == kinds(link, "bob") == []
    assert not link.call("EXISTS", f"{prefix(0)}events:bob", f"{prefix(0)}events:bob:log")


def test_events_expire_after_their_last_reader(link: RedisLink) -> None:
    """Record and log expire an hour after the last call of ``watch``, which keeps the cursor."""
    watch(link, [OWNER])
    submit(link)
    for key in (KEY, f"{KEY}:log"):
        assert KEPT_S * 1000 - 60_000 < link.call("PTTL", key) <= KEPT_S * 1000
        link.call("PEXPIRE", key, 60_000)
    assert watch(link, [OWNER]) == [events(link)[-1]["id"]]
    assert min(link.call("PTTL", KEY), link.call("PTTL", f"{KEY}:log")) > 60_000


def test_ids_go_on_after_an_expiry(link: RedisLink) -> None:
    """A log of events that begins again has later ids than the one before, so that no cursor means two events."""
    watch(link, [OWNER])
    submit(link)
    before = events(link)[-1]["id"]
    link.call("DEL", KEY, f"{KEY}:log")
    (last,) = watch(link, [OWNER])
    submit(link)
    assert events(link)[0]["id"] > last >= before - 1


def test_first_event_on_a_new_run_says_so(link: RedisLink) -> None:
    """After a restart of Redis, which may have lost events, the next one follows `restarted` under a later id."""
    watch(link, [OWNER])
    submit(link)
    before = events(link)[-1]["id"]
    link.call("HSET", KEY, "run_id", "an earlier one")
    submit(link)
    submit(link)
    after = events(link)[1:]
    assert [event["kind"] for event in after] == ["restarted", "job.queued", "job.queued"]
    assert after[0]["id"] > before


@pytest.mark.parametrize("damage", ["log", "last"])
def test_damaged_events_fail_no_job(link: RedisLink, damage: str) -> None:
    """With a damaged log of events, jobs go on; the log is deleted and begins again with its next reader."""
    watch(link, [OWNER])
    if damage == "log":
        link.call("SET", f"{KEY}:log", "no stream")
    else:
        link.call("HSET", KEY, "last", "no number")
    submit(link)
    assert not link.call("EXISTS", KEY, f"{KEY}:log")
    watch(link, [OWNER])
    submit(link)
    assert kinds(link) == ["job.queued"]


def test_large_metadata_is_left_out(link: RedisLink) -> None:
    """A record in an event has a bounded size: metadata of more than 1 KiB is not in it."""
    watch(link, [OWNER])
    submit(link, metadata={"k": "v" * 1024})
    assert "metadata" not in events(link)[0]["record"]


def test_batch_has_events_and_its_lines_have_none(link: RedisLink) -> None:
    """A batch's begin and end are events; its lines are in its own log."""
    watch(link, [OWNER])
    batch, worker = create(link, 2), HandWorker(link)
    feed(link)
    for _ in range(2):
        worker.finish(worker.take())
    found = events(link)
    assert [event["kind"] for event in found] == ["batch.created", "batch.completed"]
    assert [event["batch"] for event in found] == [batch, batch]
    assert (found[1]["record"]["succeeded"], found[1]["record"]["ended"]) == ("2", "2")


def test_open_batch_has_an_event_when_it_is_sealed(link: RedisLink) -> None:
    """The seal of an open batch is an event, once; it comes before the end of a batch that has no line left."""
    watch(link, [OWNER])
    batch, pieces = create(link, 0, options=BatchOptions(is_open=True)), Pieces(shards_of(link))
    for _ in range(2):
        pieces.seal(batch, OWNER)
    assert kinds(link) == ["batch.created", "batch.sealed", "batch.completed"]
    assert [event["record"]["status"] for event in events(link)] == ["open", "running", "succeeded"]


def test_pause_of_a_paused_batch_is_no_event(link: RedisLink) -> None:
    """Only what changes a batch is an event."""
    watch(link, [OWNER])
    batches, batch = Batches(shards_of(link)), create(link, 1)
    for is_paused in (False, True, True, False, False):
        batches.pause(batch, OWNER, is_paused=is_paused)
    assert kinds(link) == ["batch.created", "batch.paused", "batch.resumed"]


def test_log_of_events_is_no_job() -> None:
    """The log's name names its owner, also one that looks like an id; a job's id names none."""
    assert owner_of_events(log_of_events("j0-abc")) == "j0-abc"
    assert owner_of_events("j0-0123456789abcdef") is None
    assert (events_as_log("bob", 7).id, events_as_log("bob", 7).last_entry) == (log_of_events("bob"), 7)


SECRET = "a name that nobody may keep"


def kept(link: RedisLink) -> bytes:
    """All that the keys of events have."""
    values = [link.call("DUMP", key) for key in link.call("KEYS", f"{KEY}*")]
    log = [raw for _id, (_name, raw) in link.call("XRANGE", f"{KEY}:log", "-", "+")]
    return b"".join([*values, *log, *link.call("HVALS", f"{KEY}:records")])


def test_deleted_job_leaves_no_record(link: RedisLink) -> None:
    """The records in all earlier events of a deleted job are gone at once; its events stay, and those of others."""
    watch(link, [OWNER])
    worker, store = HandWorker(link), store_of(link)
    other = submit(link, metadata={"k": "other"})
    store.cancel(other.id, OWNER)
    job = submit(link, metadata={"k": SECRET})
    claim = worker.take()
    worker.claims.hand_back(claim.job.id, claim.fence, counts=False)
    worker.finish(worker.take())
    before = events(link)
    assert SECRET.encode() in kept(link)
    store.delete(job.id, OWNER)
    after = events(link)
    assert SECRET.encode() not in kept(link)
    assert [event["kind"] for event in after] == [*(event["kind"] for event in before), "job.deleted"]
    assert [event["id"] for event in after[:-1]] == [event["id"] for event in before]
    assert ["record" in event for event in after] == [True, True, *[False] * 5, True]
    assert after[:2] == before[:2]
    assert after[-1]["record"].keys() & {"metadata", "error"} == set()
    assert after[-1]["record"]["status"] == "succeeded"


def test_deleted_batch_leaves_no_record(link: RedisLink) -> None:
    """So are those of a deleted batch."""
    watch(link, [OWNER])
    batch, worker = create(link, 1, options=BatchOptions(metadata={"k": SECRET})), HandWorker(link)
    feed(link)
    worker.finish(worker.take())
    assert SECRET.encode() in kept(link)
    Batches(shards_of(link)).delete(batch, OWNER)
    assert SECRET.encode() not in kept(link)
    assert [("record" in event) for event in events(link)] == [False, False, True]


def test_reader_behind_a_deletion_gets_no_record(link: RedisLink) -> None:
    """A reader that comes back to a process which has the events in its memory gets them as they are stored."""
    (last,) = watch(link, [OWNER])
    follower, job = Follower(link), submit(link, metadata={"k": SECRET})
    store_of(link).cancel(job.id, OWNER)
    feed = Feed(log_of_events(OWNER), last)
    live = Logs(link).read(log_of_events(OWNER), 0)
    feed.add(last + 1, [raw for _id, raw in live])
    assert SECRET.encode() in b"".join(raw for _id, raw in feed.rows(last))
    store_of(link).delete(job.id, OWNER)
    feed.add(last + 3, [raw for _id, raw in Logs(link).read(log_of_events(OWNER), last + 2)])
    assert (feed.last, feed.tail) == (last + 3, [])
    reader = follower.attach(events_as_log(OWNER, feed.last), last, follow=False)
    rows, gap, _ended = reader.take_rows(9)
    assert ([entry_id for entry_id, _raw in rows], gap) == ([last + 1, last + 2, last + 3], None)
    assert SECRET.encode() not in b"".join(raw for _id, raw in rows)
    reader.close()


def test_events_are_published_as_they_are_read(link: RedisLink) -> None:
    """A live reader and one that comes later get the same bytes."""
    watch(link, [OWNER])
    subscription = link.subscription()
    subscription.connect()
    try:
        subscription.send("SUBSCRIBE", f"{KEY}:log")
        messages = itertools.chain.from_iterable(subscription.messages())
        assert next(messages)[0] == b"subscribe"
        submit(link, metadata={"k": "v"})
        store_of(link).cancel(submit(link).id, OWNER)
        published = [next(messages)[2] for _ in range(3)]
    finally:
        subscription.close()
    assert published == [b"%d\n%b" % row for row in Logs(link).read(log_of_events(OWNER), 0)]


def use_of_events(link: RedisLink) -> int:
    """The bytes of Redis's memory that the owner's events take."""
    return sum(int(link.call("MEMORY", "USAGE", key, "SAMPLES", 0)) for key in link.call("KEYS", f"{KEY}:*"))


def test_events_take_bounded_memory(link: RedisLink) -> None:
    """Beyond its bytes, which all owners share, an owner's oldest events are dropped, with their records."""
    watch(link, [OWNER])
    # As if so many owners read their events: each has a thousandth of the bytes of all.
    link.call("ZADD", f"{prefix(0)}event-logs", *[part for n in range(999) for part in (9e12, f"owner-{n}")])
    for _ in range(300):
        submit(link, metadata={"k": "v" * 900})
    assert use_of_events(link) < 120_000
    found = events(link)
    assert 20 < len(found) < 100
    assert link.call("HLEN", f"{KEY}:records") == link.call("XLEN", f"{KEY}:log") == len(found)
    assert [event["id"] for event in found] == list(range(found[0]["id"], found[-1]["id"] + 1))
    link.call("DEL", f"{prefix(0)}event-logs")
    for _ in range(100):
        submit(link)
    assert len(events(link)) == len(found) + 100


def test_event_of_an_older_version_has_its_record(link: RedisLink) -> None:
    """An event whose record is in the log itself is read as it is."""
    (last,) = watch(link, [OWNER])
    raw = b'{"id":%d,"kind":"job.queued","at":"2026-11-30T09:30:00.123Z","job":"j0-1","record":{"id":"j0-1"}}' % (
        last + 1
    )
    link.call("XADD", f"{KEY}:log", f"{last + 1}-0", "entry", raw)
    assert Logs(link).read(log_of_events(OWNER), 0) == [(last + 1, raw)]
