"""The appender: what gathers while one commit is under way goes out in the next, and nothing is lost on the way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import gevent
import pytest
from gevent.event import Event
from gevent.greenlet import Greenlet

from spool.deadline import Deadline
from spool.errors import StoreUnavailable
from spool.jobs.entries import Entry, Kind
from spool.jobs.shards import Shard
from spool.redis.link import RedisLink
from tests.by_hand import OwnAttempts, claimed
from worker.appender import Appender
from worker.attempt_log import AttemptLog

_HEAD = 8


class Link:
    """Takes every commit, notes what was in it, and answers when it is let."""

    def __init__(self) -> None:
        self.commits: list[dict[str, list[int]]] = []
        self.answers = Event()
        self.answers.set()
        self.away = 0

    def run(self, _script: object, _shard: int, _lease_ms: int, *args: Any) -> list[int]:
        """As ``append.lua`` with a Redis that has all that was sent before."""
        found, at = {}, 0
        while at < len(args):
            job_id, _fence, first, count = args[at : at + 4]
            found[job_id] = [Entry.decode(raw).id for raw in args[at + _HEAD : at + _HEAD + count]]
            assert found[job_id] == list(range(first, first + count))
            at += _HEAD + count
        self.commits.append(found)
        self.answers.wait()
        if self.away:
            self.away -= 1
            raise StoreUnavailable("away")
        return [ids[-1] for ids in found.values()]


@pytest.fixture
def link() -> Link:
    """A Redis that answers at once."""
    return Link()


@pytest.fixture
def appender(link: Link) -> Iterator[Appender]:
    """An appender that runs, and does not wait before it tries again."""
    made = Appender(Shard(0, cast(RedisLink, link)), lease_s=10, sleep=lambda _s: gevent.sleep(0))
    running: Greenlet[..., None] = gevent.spawn(made.run)
    yield made
    running.kill()


def log_of(appender: Appender, name: str) -> AttemptLog:
    """The log of an attempt at a job of this name, at entry 1."""
    return AttemptLog(claimed(name), appender.changed, OwnAttempts())


def say(log: AttemptLog, *texts: str) -> None:
    """Append tokens."""
    for text in texts:
        log.append_text(Kind.TOKEN, text, text.encode())


def test_logs_that_change_at_once(link: Link, appender: Appender) -> None:
    """What several jobs say before the appender runs goes out in one commit."""
    logs = [log_of(appender, name) for name in ("a", "b", "c")]
    for log in logs:
        say(log, "x")
    say(logs[0], "y")
    assert all(log.flush(Deadline.after(5)) for log in logs)
    assert link.commits == [{"a": [2, 3], "b": [2], "c": [2]}]


def test_logs_that_change_during_a_commit(link: Link, appender: Appender) -> None:
    """What is said while a commit is under way goes out in the next one, all of it together."""
    first, second = log_of(appender, "a"), log_of(appender, "b")
    link.answers.clear()
    say(first, "x")
    while not link.commits:
        gevent.sleep(0)
    say(first, "y")
    say(second, "x")
    say(second, "y")
    link.answers.set()
    assert first.flush(Deadline.after(5))
    assert second.flush(Deadline.after(5))
    assert link.commits == [{"a": [2]}, {"a": [3], "b": [2, 3]}]


def test_commits_one_after_the_other(link: Link, appender: Appender) -> None:
    """However the entries fall into commits, each is sent once and in order."""
    log = log_of(appender, "a")
    for number in range(20):
        say(log, str(number))
        gevent.sleep(0)
    assert log.flush(Deadline.after(5))
    assert [entry_id for commit in link.commits for entry_id in commit["a"]] == list(range(2, 22))


def test_commit_while_redis_is_away(link: Link, appender: Appender) -> None:
    """What Redis did not answer is sent again until it does, with what came since."""
    link.away = 2
    log = log_of(appender, "a")
    say(log, "x")
    assert log.flush(Deadline.after(5))
    assert link.commits == [{"a": [2]}] * 3
