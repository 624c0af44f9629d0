"""One attempt's entries as the appender gets them: exact, bounded, and again when Redis lost some."""

from __future__ import annotations

from typing import Any

import gevent
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spool.deadline import Deadline
from spool.jobs.entries import Entry, Kind
from spool.jobs.job import Status
from tests.by_hand import OwnAttempts, claimed
from worker.attempt_log import BUFFER_BYTES, AttemptLog, AttemptOver

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)


def attempt_log(first: int = 2, prefix: str = "", attempts: OwnAttempts | None = None) -> AttemptLog:
    """The log of an attempt whose first entry has this id, and which goes on after this text."""
    return AttemptLog(claimed(first=first, prefix=prefix), lambda _log: None, attempts or OwnAttempts())


def say(log: AttemptLog, *texts: str) -> None:
    """Append tokens."""
    for text in texts:
        log.append_text(Kind.TOKEN, text, text.encode())


def pending(log: AttemptLog) -> tuple[int, str, list[Entry], Any]:
    """What is to be committed: first id, text, entries, end."""
    args = log.pending()
    assert args is not None
    job_id, fence, first, count, ending, _plain, _text_at, text, *entries = args
    assert (job_id, fence, count) == (log.job_id, log.fence, len(entries))
    decoded = [Entry.decode(raw) for raw in entries if isinstance(raw, bytes)]
    assert [entry.id for entry in decoded] == list(range(int(first), int(first) + int(count)))
    assert isinstance(text, bytes)
    return int(first), text.decode(), decoded, orjson.loads(ending) if ending else None


def test_nothing_is_pending_at_first() -> None:
    """A fresh attempt has nothing to commit."""
    assert attempt_log().pending() is None


def test_pending_until_it_is_answered() -> None:
    """What was not answered is sent again, with what came since."""
    log = attempt_log()
    say(log, "a", "b")
    assert pending(log)[:2] == (2, "ab")
    say(log, "c")
    assert pending(log)[:2] == (2, "abc")
    log.answered(3)
    assert pending(log)[:2] == (4, "c")
    log.answered(4)
    assert log.pending() is None


def test_pending_of_other_kinds() -> None:
    """Entries that add nothing to the answer are committed, and add nothing to its text."""
    log = attempt_log()
    log.append(Kind.REASONING, {"text": "hmm"})
    say(log, "a")
    log.append(Kind.USAGE, {"input_tokens": 1, "output_tokens": 1})
    first, text, entries, _ = pending(log)
    assert (first, text) == (2, "a")
    assert [entry.kind for entry in entries] == [Kind.REASONING, Kind.TOKEN, Kind.USAGE]


def test_tool_call_is_more_than_text() -> None:
    """From a tool call on, the attempt says that it cannot be continued."""
    log = attempt_log()
    say(log, "a")
    args = log.pending()
    assert args is not None
    assert args[5] == 1
    log.append(Kind.TOOL_CALL, {"index": 0, "call_id": None, "name": None, "arguments": ""})
    args = log.pending()
    assert args is not None
    assert args[5] == 0


def test_redis_lost_its_last_second() -> None:
    """Where Redis answers with less than it had, everything after is sent again under the same ids, text included."""
    log = attempt_log()
    say(log, "a", "b", "c")
    log.answered(4)
    say(log, "d")
    log.answered(2)
    assert pending(log)[:2] == (3, "bcd")
    log.answered(1)
    assert pending(log)[:2] == (2, "abcd")
    log.answered(5)
    assert log.pending() is None


def test_redis_lost_the_beginning_of_the_attempt() -> None:
    """An attempt sends its own entries again, and never those before it."""
    log = attempt_log(first=10)
    say(log, "a")
    log.answered(10)
    log.answered(3)
    assert pending(log)[:2] == (10, "a")


def test_redis_has_more_than_was_sent() -> None:
    """An answer beyond the last entry means no more than that everything is there."""
    log = attempt_log()
    say(log, "a")
    log.answered(99)
    assert log.pending() is None
    say(log, "b")
    assert pending(log)[:2] == (3, "b")


@given(TEXT, st.lists(st.one_of(TEXT, st.integers(0, 30)), max_size=40))
def test_text_matches_its_entries(prefix: str, steps: list[str | int]) -> None:
    """Whatever Redis answers, the text that is committed is that of the entries that are committed with it, at the
    place where all that was said before it ends."""
    log = attempt_log(prefix=prefix)
    said: list[str] = []
    for step in steps:
        if isinstance(step, str):
            say(log, step)
            said.append(step)
        else:
            log.answered(1 + step)
        args = log.pending()
        if args is not None:
            assert args[6] == len((prefix + "".join(said[: log.acked - 1])).encode())
            first, text, entries, _ = pending(log)
            assert first == log.acked + 1
            assert text == "".join(entry.fields["text"] for entry in entries)
            assert entries[-1].id == log.last


def test_one_commit_is_bounded() -> None:
    """A commit takes a bounded number of entries and bytes; the end comes with the last of them."""
    log = attempt_log()
    say(log, *["x"] * 2500)
    log.end(Status.SUCCEEDED, Kind.DONE, {"finish_reason": "stop"}, None)
    sizes = []
    while log.pending() is not None:
        first, text, entries, ending = pending(log)
        sizes.append(len(entries))
        assert (ending is not None) == (entries[-1].kind is Kind.DONE)
        assert len(text) == sum(entry.kind is Kind.TOKEN for entry in entries)
        log.answered(first + len(entries) - 1)
    assert sum(sizes) == 2501
    assert max(sizes) <= 1000
    big = attempt_log()
    say(big, *["x" * 8000] * 60)
    assert len(pending(big)[2]) < 60


def test_end() -> None:
    """The end says what the record keeps; with its commit the attempt is over and may no longer be written to."""
    log = attempt_log()
    say(log, "a")
    log.end(Status.FAILED, Kind.FAILED, {"error": {"code": "x"}}, {"output_tokens": 1})
    assert log.ending
    assert pending(log)[3] == {"status": "failed", "error": {"code": "x"}, "usage": {"output_tokens": 1}}
    log.answered(2)
    assert log.outcome is None
    log.answered(3)
    assert log.outcome == "ended"
    assert log.flush(Deadline.never())
    with pytest.raises(AttemptOver):
        say(log, "b")


@pytest.mark.parametrize("outcome", ["lost", "cancelled"])
def test_attempt_is_over(outcome: str) -> None:
    """Where the script says that it is over, whoever runs it is told, once, and nothing more is sent."""
    attempts = OwnAttempts()
    log = attempt_log(attempts=attempts)
    say(log, "a")
    log.answered(outcome.encode())
    log.answered(b"lost")
    log.over("lost")
    assert (attempts.said, log.outcome, log.pending()) == ([outcome], outcome, None)
    with pytest.raises(AttemptOver) as caught:
        say(log, "b")
    assert caught.value.outcome == outcome
    with pytest.raises(AttemptOver):
        log.flush(Deadline.never())


def test_full_buffer_holds_the_job_up() -> None:
    """Beyond a bound in bytes the job waits for Redis, and goes on when half of it is there."""
    log = attempt_log()
    job = gevent.spawn(say, log, *["x" * 8000] * 200)
    gevent.sleep(0)
    assert not job.ready()
    assert BUFFER_BYTES * 0.9 < log.last * 8000 < BUFFER_BYTES * 1.1
    while not job.ready():
        args = log.pending()
        assert args is not None
        log.answered(int(args[2]) + int(args[3]) - 1)
        gevent.sleep(0)
    assert log.last == 201


def test_flush_with_a_deadline() -> None:
    """Waiting for Redis has an end; it says whether everything is there."""
    log = attempt_log()
    say(log, "a")
    assert not log.flush(Deadline.after(0.05))
    log.answered(2)
    assert log.flush(Deadline.after(0.05))
