"""Turns that continue their conversation: the messages that the model gets, whatever became of the earlier turns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from spool.jobs.conversation_blocks import BLOCK_BYTES
from spool.jobs.entries import Entry, Kind
from spool.jobs.job import Job
from spool.jobs.scheduling import Conversation, Scheduling
from spool.jobs.turns import CannotContinueTurn, continued_input
from spool.keys import job as job_key
from spool.redis.link import RedisLink
from tests.by_hand import AT, OWNER, SUCCEEDED, HandWorker, age, done, keep, log_of, record, store_of, submit

pytestmark = pytest.mark.one_shard
MIB = 1024 * 1024


def turn(link: RedisLink, text: str, *, at_most: int | None = MIB, **fields: Any) -> Job:
    """A turn of the one conversation that asks for the earlier ones; not with ``at_most`` None."""
    job_input = {"messages": [{"role": "user", "content": text}], "params": {"p": text}}
    scheduling = Scheduling(conversation=Conversation("c", continue_at_most=at_most))
    return submit(link, input=job_input, scheduling=scheduling, **fields)


def run(worker: HandWorker, answer: str) -> Mapping[str, Any]:
    """Run the next job to its end; the input that its model got."""
    claim = worker.take()
    job_input = continued_input(worker.shards, claim)
    worker.say(claim, answer)
    worker.finish(claim)
    return job_input


def said(job_input: Mapping[str, Any]) -> list[str]:
    """The texts of its messages."""
    return [message["content"] for message in job_input["messages"]]


def test_turns_begin_with_the_earlier_ones(link: RedisLink) -> None:
    """Each turn that waited has all earlier turns with their answers, and keeps them for the next."""
    jobs = [turn(link, text) for text in ("a", "b", "c")]
    worker = HandWorker(link)
    assert [said(run(worker, answer)) for answer in ("A", "B", "C")] == [
        ["a"],
        ["a", "A", "b"],
        ["a", "A", "b", "B", "c"],
    ]
    stored = store_of(link).input_of(jobs[2].id)
    assert (said(stored), stored["params"]) == (["a", "A", "b", "B", "c"], {"p": "c"})


def test_turn_without_the_wish(link: RedisLink) -> None:
    """A job of a conversation that does not ask for the earlier turns begins with its own messages."""
    turn(link, "a")
    turn(link, "b", at_most=None)
    worker = HandWorker(link)
    assert [said(run(worker, answer)) for answer in ("A", "B")] == [["a"], ["b"]]


def test_turn_after_one_that_was_cancelled(link: RedisLink) -> None:
    """The partial answer of a turn that was cancelled counts; a turn that never began does not."""
    first, second = turn(link, "a"), turn(link, "b")
    third = turn(link, "c")
    worker = HandWorker(link)
    claim = worker.take()
    worker.say(claim, "half")
    store_of(link).cancel(second.id, OWNER)
    store_of(link).cancel(first.id, OWNER)
    age(link, first.id, leased_until_ms=1)
    keep(link)
    claim = worker.take()
    assert claim.job.id == third.id
    assert said(continued_input(worker.shards, claim)) == ["a", "half", "c"]


def test_turn_after_tool_calls(link: RedisLink) -> None:
    """An answer with tool calls is read from its log."""
    turn(link, "a")
    turn(link, "b")
    worker = HandWorker(link)
    claim = worker.take()
    call = {"index": 0, "call_id": "call_1", "name": "f", "arguments": "{}"}
    worker.append(claim, 2, [Entry(2, Kind.TOOL_CALL, AT, call).encode()], plain=False)
    worker.append(claim, 3, [done(3)], ending=SUCCEEDED, plain=False)
    messages = continued_input(worker.shards, worker.take())["messages"]
    assert messages[1]["tool_calls"][0]["function"] == {"name": "f", "arguments": "{}"}


def test_turn_whose_log_has_no_end(link: RedisLink) -> None:
    """An answer that is read from its log counts as a whole, or its job is gone: it may be deleted meanwhile."""
    first = turn(link, "a")
    turn(link, "b")
    worker = HandWorker(link)
    claim = worker.take()
    call = {"index": 0, "call_id": "call_1", "name": "f", "arguments": "{}"}
    worker.append(claim, 2, [Entry(2, Kind.TOOL_CALL, AT, call).encode()], plain=False)
    worker.append(claim, 3, [done(3)], ending=SUCCEEDED, plain=False)
    link.call("XDEL", f"{job_key(first.id)}:log", "3-0")
    with pytest.raises(CannotContinueTurn) as caught:
        continued_input(worker.shards, worker.take())
    assert caught.value.code == "conversation_gone"


def test_turn_is_continued_once(link: RedisLink) -> None:
    """Another attempt finds the earlier turns in its input, also when the first attempt's answer was lost."""
    turn(link, "a" * BLOCK_BYTES)
    job = turn(link, "b")
    worker = HandWorker(link)
    run(worker, "A")
    claim = worker.take()
    first = continued_input(worker.shards, claim)
    assert continued_input(worker.shards, claim) == first
    assert record(link, job.id)["before"]
    age(link, job.id, leased_until_ms=1)
    keep(link)
    again = worker.take()
    assert said(again.input) == said(first) == ["a" * BLOCK_BYTES, "A", "b"]
    assert continued_input(worker.shards, again) is again.input


def test_turn_of_a_lost_claim(link: RedisLink) -> None:
    """A worker that has lost its claim changes nothing."""
    turn(link, "a")
    job = turn(link, "b")
    worker = HandWorker(link)
    run(worker, "A")
    claim = worker.take()
    before = link.call("GET", f"{job_key(job.id)}:input")
    age(link, job.id, leased_until_ms=1)
    keep(link)
    continued_input(worker.shards, claim)
    assert link.call("GET", f"{job_key(job.id)}:input") == before


@pytest.mark.parametrize(
    ("at_most", "is_deleted", "code"),
    [(60, False, "conversation_too_long"), (MIB, True, "conversation_gone")],
    ids=["long", "gone"],
)
def test_turn_that_cannot_continue(link: RedisLink, at_most: int, is_deleted: bool, code: str) -> None:
    """Earlier turns that are too long, or whose job was deleted, fail the job instead of being left out."""
    first = turn(link, "a")
    turn(link, "b", at_most=at_most)
    worker = HandWorker(link)
    run(worker, "A")
    if is_deleted:
        store_of(link).delete(first.id, OWNER)
    with pytest.raises(CannotContinueTurn) as caught:
        continued_input(worker.shards, worker.take())
    assert caught.value.code == code


def test_turns_leave_nothing_behind(link: RedisLink) -> None:
    """The key that names the last turn expires with its job, and the ledger counts what the input has grown by."""
    first = turn(link, "a")
    second = turn(link, "b")
    worker = HandWorker(link)
    run(worker, "A")
    run(worker, "B")
    (key,) = link.call("KEYS", "*conversation:*")
    assert link.call("GET", key) == second.id.encode()
    of_job = link.call("PTTL", job_key(second.id))
    # Both are set by one script, whose clock may have gone on in between; and they are read one after the other.
    assert 0 < link.call("PTTL", key) <= of_job + 1000
    assert [entry.kind for entry in log_of(link, first.id)] == [Kind.STARTED, Kind.TOKEN, Kind.DONE]
