"""The checker finds what it is there for: each test breaks one thing of a good log, reader or stack."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import orjson
import pytest

from spool.redis.link import RedisLink
from tests.faults.checker import (
    JUMP,
    PREFIX,
    Accepted,
    check_log,
    check_reader,
    check_stack,
    check_text,
    golden,
)
from tests.faults.following import Following
from tests.stack import Redis, Stack
from worker.backends.demo.backend import answer

JOB = Accepted("j0-" + "0" * 26, "hello", {"tokens": 6})
FAR = 10 * JUMP
Rows = list[tuple[int, bytes]]


def entry(number: int, kind: str, **fields: Any) -> tuple[int, bytes]:
    """One entry of a log."""
    return number, orjson.dumps({"id": number, "kind": kind, "at": "2026-01-01T00:00:00.000Z", **fields})


def good_log() -> Rows:
    """Six tokens in two attempts: the second continues."""
    tokens = [text for text, _ in zip(answer("hello", 0, endless=True), range(6), strict=False)]
    return [
        entry(1, "started", attempt=1, model="demo"),
        *[entry(n, "token", text=text) for n, text in enumerate(tokens[:3], 2)],
        entry(5, "continued", attempt=2, reason="worker_lost"),
        *[entry(n, "token", text=text) for n, text in enumerate(tokens[3:], 6)],
        entry(9, "done", finish_reason="length"),
    ]


def log_that_lost_history() -> Rows:
    """Entries 4 to 8 were lost; the second attempt begins far ahead."""
    again = good_log()[1:4] + good_log()[5:8]
    return [
        *good_log()[:3],
        entry(FAR, "restarted", attempt=2, reason="redis_lost_history"),
        *[entry(FAR + n, "token", text=orjson.loads(raw)["text"]) for n, (_, raw) in enumerate(again, 1)],
        entry(FAR + 7, "done", finish_reason="length"),
    ]


def reader_of(log: Rows, after: int = 0, transport: str = "sse") -> Following:
    """A reader that saw all of it from there."""
    following = Following(JOB.id, transport, after)
    for number, raw in log:
        if number > after:
            following.take(raw)
    following.done.set()
    return following


def test_a_good_log_and_its_readers() -> None:
    """Nothing is found where nothing is wrong, from any cursor on, with and without lost history."""
    for log in (good_log(), log_that_lost_history()):
        assert check_log(log) == []
        assert check_text(log, JOB) == []
        for after in (0, 3, log[-1][0]):
            assert check_reader(reader_of(log, after), log) == []


@pytest.mark.parametrize(
    ("broken", "found"),
    [
        (lambda log: [*log[:3], log[2], *log[3:]], "token 3 follows 3"),
        (lambda log: [*log[:2], *log[3:]], "token 4 follows 2"),
        (lambda log: log[:-1], "no terminal entry"),
        (lambda log: [*log, entry(10, "cancelled")], "cancelled 10 comes after done 9"),
        (lambda log: [*log, entry(10, "token", text="x")], "token 10 comes after done 9"),
        (lambda log: [*log[:4], entry(5, "continued", attempt=1, reason="x"), *log[5:]], "attempt 1 after attempt 1"),
        (lambda log: log[1:], "token 2 follows 0"),
        (lambda log: [*log[:4], entry(FAR, "continued", attempt=2, reason="x"), *log[5:]], f"continued {FAR}"),
        (lambda log: [*log[:4], entry(7, "restarted", attempt=2, reason="x"), *log[5:]], "restarted 7 follows 4"),
        (lambda log: [(number + 1, raw) for number, raw in log], "entry 1 lies under 2"),
    ],
    ids=[
        "doubled",
        "missing",
        "unterminated",
        "two-ends",
        "after-the-end",
        "attempt-twice",
        "no-start",
        "jump-unannounced",
        "jump-small",
        "key",
    ],
)
def test_a_broken_log_is_found(broken: Any, found: str) -> None:
    """A log that is not as promised is named, with the entry."""
    assert any(found in violation for violation in check_log(broken(good_log())))


def test_interleaved_attempts_are_found() -> None:
    """A token of the old attempt among those of the new one shows in the text."""
    log = good_log()
    mixed = [*log[:5], entry(6, "token", text="of the old one"), *[(n + 1, raw) for n, raw in log[5:]]]
    assert check_text(mixed, JOB)
    assert check_text([*good_log()[:3], entry(4, "failed", error={})], JOB) == []
    assert check_text([*good_log()[:1], entry(2, "token", text="wrong"), entry(3, "cancelled")], JOB)
    assert check_text([*good_log()[:7], good_log()[8]], JOB)


@pytest.mark.parametrize(
    ("broken", "found"),
    [
        (lambda log: [*log[:3], log[2], *log[3:]], "saw 3 where 4 was due"),
        (lambda log: [*log[:3], *log[4:]], "saw 5 where 4 was due"),
        (lambda log: log[:-1], "missed 1 entries, from 9 on"),
        (lambda log: [*log[:3], entry(4, "token", text="other"), *log[4:]], "saw entry 4 as"),
    ],
    ids=["doubled", "missing", "hanging", "changed"],
)
def test_a_broken_reader_is_found(broken: Any, found: str) -> None:
    """A reader that did not see the log as it is, is named with the first entry that differs."""
    assert any(found in violation for violation in check_reader(reader_of(broken(good_log())), good_log()))


def test_a_reader_that_met_errors_or_left() -> None:
    """What a reader met is a violation; one that left has seen a beginning, and that must be right."""
    met = reader_of(good_log())
    met.errors.append("status 500")
    assert check_reader(met, good_log())
    left = reader_of(good_log()[:4])
    left.left = True
    assert check_reader(left, good_log()) == []
    wrong = reader_of([*good_log()[:2], good_log()[3]])
    wrong.left = True
    assert check_reader(wrong, good_log())


def test_text_that_ended_whole() -> None:
    """Bare text counts where it ended whole, and not where it was cut."""
    following = Following(JOB.id, "text", 0)
    following.text += golden("hello", {"tokens": 5}).encode()
    assert check_reader(following, good_log()) == []
    following.ended = True
    assert check_reader(following, good_log())


def test_history_that_redis_lost() -> None:
    """Entries that were lost may have been seen only where the log announces a jump past them, and if asked for."""
    seen = [*good_log()[:6], *log_that_lost_history()[3:]]
    assert check_reader(reader_of(seen), log_that_lost_history(), lost_history=True) == []
    assert check_reader(reader_of(seen), log_that_lost_history())
    spliced = [*good_log()[:3], entry(4, "token", text="lost"), *good_log()[4:]]
    assert check_reader(reader_of(spliced), good_log(), lost_history=True)
    beyond = [*good_log(), entry(10, "token", text="lost")]
    assert check_reader(reader_of(beyond), good_log(), lost_history=True)


def test_a_stack_whose_books_are_wrong(redis: Redis, link: RedisLink) -> None:
    """The record, the stored text and the indexes are held against the log."""
    stack = cast(Stack, SimpleNamespace(redis=redis))
    key = f"{PREFIX}job:{JOB.id}"
    assert check_stack(stack, [JOB])
    for number, raw in good_log():
        link.call("XADD", f"{key}:log", f"{number}-0", "entry", raw)
    link.call("SET", f"{key}:text", golden(JOB.prompt, JOB.params))
    link.call("HSET", key, "status", "succeeded", "last", 9, "attempt", 2)
    assert check_stack(stack, [JOB], [reader_of(good_log())]) == []
    for name, wrong, right in (("status", "failed", "succeeded"), ("last", 8, 9), ("attempt", 1, 2)):
        link.call("HSET", key, name, wrong)
        assert check_stack(stack, [JOB])
        link.call("HSET", key, name, right)
    for index in ("pending:demo", "running:demo", "deadlines", "watched", "apart:demo"):
        link.call("ZADD", PREFIX + index, 1, JOB.id)
        assert check_stack(stack, [JOB]) == [f"{JOB.id} has ended, and is in {PREFIX}{index}"]
        link.call("ZREM", PREFIX + index, JOB.id)
    link.call("SET", f"{key}:text", "something else")
    assert check_stack(stack, [JOB])
