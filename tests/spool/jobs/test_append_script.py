"""Appending: fenced, atomic per log, exact after lost answers, and no log's trouble is another's."""

from __future__ import annotations

import itertools

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spool.jobs.claims import Claim
from spool.jobs.entries import Entry, Kind
from spool.jobs.job import Status
from spool.keys import job as job_key
from spool.keys import prefix
from spool.redis.link import RedisLink
from tests.by_hand import (
    AT,
    OWNER,
    SUCCEEDED,
    HandWorker,
    age,
    done,
    kinds_of,
    log_of,
    record,
    store_of,
    submit,
    text_of,
    tokens,
)
from tests.stack import Redis

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)


@pytest.fixture
def worker(link: RedisLink) -> HandWorker:
    """A worker by hand on an empty Redis."""
    return HandWorker(link)


@pytest.fixture
def claim(link: RedisLink, worker: HandWorker) -> Claim:
    """A claimed job, whose log holds ``started`` as entry 1."""
    submit(link)
    return worker.take()


def ids_of(link: RedisLink, job_id: str) -> list[int]:
    """The ids of a log's entries."""
    return [entry.id for entry in log_of(link, job_id)]


def test_append_behind_the_end(link: RedisLink, worker: HandWorker, claim: Claim) -> None:
    """New entries are written, the text grows with them, and the answer is the log's last id."""
    assert worker.append(claim, 2, tokens(2, "Hel", "lo"), text="Hello") == 3
    assert worker.append(claim, 4, tokens(4, "!"), text="!") == 4
    assert ids_of(link, claim.job.id) == [1, 2, 3, 4]
    assert text_of(link, claim.job.id) == "Hello!"
    assert record(link, claim.job.id)["last"] == "4"


def test_append_sent_again(link: RedisLink, worker: HandWorker, claim: Claim) -> None:
    """What is sent again after a lost answer is there already: nothing is written twice."""
    worker.append(claim, 2, tokens(2, "Hel", "lo"), text="Hello")
    assert worker.append(claim, 2, tokens(2, "Hel", "lo"), text="Hello") == 3
    assert ids_of(link, claim.job.id) == [1, 2, 3]
    assert text_of(link, claim.job.id) == "Hello"


def test_append_sent_again_with_more(link: RedisLink, worker: HandWorker, claim: Claim) -> None:
    """Of a resend that brings more, the new entries are written, and the text holds each of them once."""
    worker.append(claim, 2, tokens(2, "Hel", "lo"), text="Hello")
    assert worker.append(claim, 2, tokens(2, "Hel", "lo", ", ", "ok"), text="Hello, ok") == 5
    assert ids_of(link, claim.job.id) == [1, 2, 3, 4, 5]
    assert text_of(link, claim.job.id) == "Hello, ok"


@given(steps=st.lists(st.tuples(st.integers(0, 6), st.lists(TEXT, max_size=4)), max_size=10))
def test_append_any_overlaps(redis: Redis, steps: list[tuple[int, list[str]]]) -> None:
    """However resends overlap, the log and its text come out as if everything had been sent once."""
    redis.link.call("FLUSHALL")
    worker = HandWorker(redis.link)
    submit(redis.link)
    claim = worker.take()
    texts: list[str] = []
    for back, new in steps:
        start = max(0, len(texts) - back)
        texts += new
        part = texts[start:]
        if part:
            answer = worker.append(claim, start + 2, tokens(start + 2, *part), text="".join(part))
            assert answer == len(texts) + 1
    assert [entry.fields["text"] for entry in log_of(redis.link, claim.job.id)[1:]] == texts
    assert text_of(redis.link, claim.job.id) == "".join(texts)


def test_append_resend_counts_tokens_alone(link: RedisLink, worker: HandWorker, claim: Claim) -> None:
    """The text of a resend is taken from its new tokens, and not from other entries that have a text."""
    worker.append(claim, 2, tokens(2, "a"), text="a")
    thought = Entry(3, Kind.REASONING, AT, {"text": "hmm"}).encode()
    assert worker.append(claim, 2, [*tokens(2, "a"), thought, *tokens(4, "b")], text="ab") == 4
    assert text_of(link, claim.job.id) == "ab"


def test_append_ahead_of_the_end(link: RedisLink, worker: HandWorker, claim: Claim) -> None:
    """Where entries are missing, nothing is written, and the answer is where the log ends."""
    assert worker.append(claim, 7, tokens(7, "x"), text="x") == 1
    assert ids_of(link, claim.job.id) == [1]
    assert text_of(link, claim.job.id) == ""


def test_append_under_another_fence(link: RedisLink, worker: HandWorker, claim: Claim) -> None:
    """Who does not hold the job writes nothing and is told so."""
    assert worker.append(claim, 2, tokens(2, "x"), text="x", fence="0" * 16) == b"lost"
    assert ids_of(link, claim.job.id) == [1]


def test_append_after_the_job_was_taken_over(link: RedisLink, worker: HandWorker, claim: Claim) -> None:
    """A worker that was thought dead cannot write into the attempt after its own."""
    worker.claims.hand_back(claim.job.id, claim.fence, counts=True)
    assert worker.append(claim, 2, tokens(2, "x")) == b"unclaimed"
    assert worker.claims.adopt(claim) == b"lost"
    second = worker.take()
    assert worker.claims.adopt(claim) == b"lost"
    assert worker.append(claim, 2, tokens(2, "x")) == b"lost"
    assert worker.append(second, second.first, tokens(second.first, "y"), text="y") == second.first
    assert kinds_of(link, claim.job.id) == ["started", "restarted", "token"]


def test_append_to_a_job_that_is_not_there(worker: HandWorker, claim: Claim) -> None:
    """A job that Redis lost is lost to its worker."""
    worker.link.call("DEL", job_key(claim.job.id))
    assert worker.append(claim, 2, tokens(2, "x")) == b"lost"


def test_append_the_end(link: RedisLink, worker: HandWorker, claim: Claim) -> None:
    """The terminal entry, the state and what the record keeps of the end come in one step."""
    assert worker.append(claim, 2, [*tokens(2, "a"), done(3)], text="a", ending=SUCCEEDED) == 3
    job = store_of(link).look(claim.job.id, OWNER)
    assert (job.status, job.finish_reason, job.usage) == (Status.SUCCEEDED, "stop", {"output_tokens": 2})
    assert job.ended_at is not None
    assert link.call("ZCARD", f"{prefix(0)}running:demo") == 0
    assert link.call("ZCARD", f"{prefix(0)}deadlines") == 0


def test_append_the_end_sent_again(link: RedisLink, worker: HandWorker, claim: Claim) -> None:
    """An end that is sent again after a lost answer is there already."""
    worker.append(claim, 2, [done(2)], ending=SUCCEEDED)
    assert worker.append(claim, 2, [done(2)], ending=SUCCEEDED) == 2
    assert kinds_of(link, claim.job.id) == ["started", "done"]


def test_append_after_the_end(link: RedisLink, worker: HandWorker, claim: Claim) -> None:
    """Nothing comes after the terminal entry, not even under the fence that wrote it."""
    worker.append(claim, 2, [done(2)], ending=SUCCEEDED)
    assert worker.append(claim, 3, tokens(3, "x"), text="x") == b"lost"
    assert worker.append(claim, 3, [done(3)], ending=SUCCEEDED) == b"lost"
    assert kinds_of(link, claim.job.id) == ["started", "done"]


def test_append_after_a_cancel(link: RedisLink, worker: HandWorker, claim: Claim) -> None:
    """Once the cancel is asked for, the end is ``cancelled``, whatever arrives after."""
    store_of(link).cancel(claim.job.id, OWNER)
    assert worker.append(claim, 2, [done(2)], ending=SUCCEEDED) == b"cancelled"
    assert kinds_of(link, claim.job.id) == ["started", "cancelled"]
    assert worker.append(claim, 2, [done(2)], ending=SUCCEEDED) == b"cancelled"
    assert store_of(link).look(claim.job.id, OWNER).status == Status.CANCELLED


def test_cancel_after_the_end(link: RedisLink, worker: HandWorker, claim: Claim) -> None:
    """A cancel that comes after the end changes nothing."""
    worker.append(claim, 2, [done(2)], ending=SUCCEEDED)
    job = store_of(link).cancel(claim.job.id, OWNER)
    assert (job.status, job.cancel_requested_at) == (Status.SUCCEEDED, None)
    assert kinds_of(link, claim.job.id) == ["started", "done"]


def test_append_failed_with_its_error(link: RedisLink, worker: HandWorker, claim: Claim) -> None:
    """The error of a failed job is in its record as it is in its log."""
    error = {"code": "x", "message": 'say "no"\n', "retryable": True}
    entry = Entry(2, Kind.FAILED, AT, {"error": error}).encode()
    worker.append(claim, 2, [entry], ending=orjson.dumps({"status": "failed", "usage": None, "error": error}))
    job = store_of(link).look(claim.job.id, OWNER)
    assert (job.status, job.error, job.usage) == (Status.FAILED, error, None)
    assert log_of(link, claim.job.id)[-1].fields["error"] == error


def test_append_to_many_where_one_is_broken(link: RedisLink, worker: HandWorker) -> None:
    """One log that cannot be written fails alone; the others in the same call are written."""
    for _ in range(3):
        submit(link)
    claims = [worker.take() for _ in range(3)]
    link.call("SET", f"{job_key(claims[1].job.id)}:log", "no stream")
    answers = worker.append_many([worker.commit(claim, 2, tokens(2, "x"), "x") for claim in claims])
    assert answers[0] == answers[2] == 2
    assert answers[1].startswith(b"error WRONGTYPE")
    assert [record(link, claim.job.id)["last"] for claim in claims] == ["2", "1", "2"]


def test_append_to_many_with_different_outcomes(link: RedisLink, worker: HandWorker) -> None:
    """Each log in a call has its own answer."""
    for _ in range(4):
        submit(link)
    going, stolen, cancelled, behind = [worker.take() for _ in range(4)]
    store_of(link).cancel(cancelled.job.id, OWNER)
    answers = worker.append_many(
        [
            worker.commit(going, 2, tokens(2, "x", "y"), "xy"),
            worker.commit(stolen, 2, tokens(2, "x"), "x", fence="0" * 16),
            worker.commit(cancelled, 2, tokens(2, "x"), "x"),
            worker.commit(behind, 5, tokens(5, "x"), "x"),
        ]
    )
    assert answers == [3, b"lost", b"cancelled", 1]


@pytest.mark.one_shard
def test_append_renews_a_lease_that_is_partly_over(link: RedisLink, worker: HandWorker, claim: Claim) -> None:
    """An append renews the lease once a quarter of it has passed, and leaves a fresh one alone."""
    fresh = record(link, claim.job.id)["leased_until_ms"]
    worker.append(claim, 2, tokens(2, "a"), text="a")
    assert record(link, claim.job.id)["leased_until_ms"] == fresh
    age(link, claim.job.id, leased_until_ms=int(fresh) - 5000)
    worker.append(claim, 3, tokens(3, "b"), text="b")
    renewed = int(record(link, claim.job.id)["leased_until_ms"])
    assert renewed >= int(fresh)
    assert int(link.call("ZSCORE", f"{prefix(0)}running:demo", claim.job.id)) == renewed


def test_append_of_more_than_text_is_remembered(link: RedisLink, worker: HandWorker, claim: Claim) -> None:
    """A job that has produced more than text is marked, so that no later attempt continues it."""
    worker.append(claim, 2, tokens(2, "a"), text="a", plain=False)
    assert record(link, claim.job.id)["plain"] == "0"


def test_append_rings_the_doorbell(redis: Redis, link: RedisLink, worker: HandWorker, claim: Claim) -> None:
    """What is written is published on the log's channel: the first new id, then the entries, one per line."""
    channel = f"{job_key(claim.job.id)}:log"
    subscription = redis.link.subscription()
    subscription.connect()
    try:
        subscription.send("SUBSCRIBE", channel)
        messages = itertools.chain.from_iterable(subscription.messages())
        assert next(messages)[0] == b"subscribe"
        entries = tokens(2, "a", "b", "c")
        worker.append(claim, 2, entries[:1], text="a")
        assert next(messages)[2] == b"2\n" + entries[0]
        worker.append(claim, 2, entries, text="abc")
        assert next(messages)[2] == b"3\n" + entries[1] + b"\n" + entries[2]
        store_of(link).cancel(claim.job.id, OWNER)
        worker.append(claim, 5, tokens(5, "d"), text="d")
        first, entry = next(messages)[2].split(b"\n")
        assert (first, Entry.decode(entry).kind) == (b"5", Kind.CANCELLED)
    finally:
        subscription.close()


def test_append_text_with_anything_in_it(link: RedisLink, worker: HandWorker, claim: Claim) -> None:
    """Text is kept byte for byte, also where a resend makes the script decode it."""
    texts = ["🧵", "\x00\x01", 'q"\\', "\u2028\n\r", "שלום", "\u0301"]
    worker.append(claim, 2, tokens(2, texts[0]), text=texts[0])
    worker.append(claim, 2, tokens(2, *texts), text="".join(texts))
    assert text_of(link, claim.job.id) == "".join(texts)
