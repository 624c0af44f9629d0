"""Pages that readers share: read once for all who ask at the same time, and never for longer than a moment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gevent
import pytest
from gevent.event import Event

from spool.errors import StoreUnavailable
from spool.following.replay_cache import Page, ReplayCache
from spool.jobs.log import PAGE, Logs
from tests.by_hand import tokens
from tests.clock import Clock

JOB = "j0-" + "0" * 26


class Log:
    """A link to a Redis with one log, which answers when it is let and tells how often it was asked."""

    def __init__(self, *texts: str) -> None:
        self.entries = tokens(1, *texts)
        self.asked: list[int] = []
        self.may_answer = Event()
        self.may_answer.set()
        self.away = False

    def call(self, *command: Any) -> list[tuple[bytes, tuple[bytes, bytes]]]:
        """XRANGE."""
        after, count = int(command[2][1:-2]), command[5]
        self.asked.append(after)
        self.may_answer.wait()
        if self.away:
            raise StoreUnavailable("away")
        rows = list(enumerate(self.entries, 1))[after : after + count]
        return [(b"%d-0" % entry_id, (b"entry", raw)) for entry_id, raw in rows]

    def pipeline_each(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        """The reply to each command."""
        return [self.call(*command) for command in commands]


class Upper:
    """A format that says how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    def entry(self, entry_id: int, raw: bytes) -> bytes:  # noqa: ARG002 - the protocol's shape
        """In capitals."""
        self.asked += 1
        return raw.upper()

    def piece(self, entries: bytes) -> bytes:
        """The entries as they are."""
        return entries


def pages_of(log: Log) -> ReplayCache:
    """Pages read from it."""
    return ReplayCache(Logs(log))  # type: ignore[arg-type]


def test_crowd_reads_once() -> None:
    """Whoever asks while a page is being read, or just after, gets that page."""
    log = Log("a", "b", "c")
    log.may_answer.clear()
    pages = pages_of(log)
    asking = [gevent.spawn(pages.read, JOB, 0, PAGE) for _ in range(50)]
    gevent.spawn(log.may_answer.set)
    gevent.joinall(asking, raise_error=True)
    assert {len(one.value.rows) for one in asking} == {3}
    assert pages.read(JOB, 0, PAGE) is asking[0].value
    assert log.asked == [0]
    assert len(pages.read(JOB, 1, PAGE).rows) == 2
    assert log.asked == [0, 1]


def test_formats_are_made_once() -> None:
    """A page is encoded once per format."""
    page, upper = Page(list(enumerate(tokens(1, "a", "b"), 1))), Upper()
    assert page.encoded(upper) == page.encoded(upper) == b"".join(raw.upper() for raw in tokens(1, "a", "b"))
    assert upper.asked == 2


def test_old_pages_are_read_again() -> None:
    """After a moment the log is asked again, and what nobody may get any more is forgotten."""
    log = Log("a")
    clock = Clock()
    pages = ReplayCache(Logs(log), clock)  # type: ignore[arg-type]
    pages.read(JOB, 0, PAGE)
    log.entries = tokens(1, "a", "b")
    assert len(pages.read(JOB, 0, PAGE).rows) == 1
    clock.now += 10
    assert len(pages.read(JOB, 0, PAGE).rows) == 2
    clock.now += 10
    pages.drop_old()
    assert pages._kept == {}
    assert pages._bytes == 0


def test_nothing_is_not_kept() -> None:
    """Where there is nothing yet, the next one to ask asks Redis."""
    log = Log()
    pages = pages_of(log)
    assert pages.read(JOB, 0, PAGE).rows == []
    log.entries = tokens(1, "a")
    assert len(pages.read(JOB, 0, PAGE).rows) == 1


def test_trouble_is_everybodys_and_not_kept() -> None:
    """All who waited for a read that failed are told, and the next one asks again."""
    log = Log("a")
    log.may_answer.clear()
    log.away = True
    pages = pages_of(log)
    asking = [gevent.spawn(pages.read, JOB, 0, PAGE) for _ in range(5)]
    gevent.spawn(log.may_answer.set)
    gevent.joinall(asking)
    assert [type(one.exception) for one in asking] == [StoreUnavailable] * 5
    log.away = False
    assert len(pages.read(JOB, 0, PAGE).rows) == 1


def test_killed_reader_leaves_nobody_waiting() -> None:
    """Those who waited for a greenlet that is killed come again."""
    log = Log("a")
    log.may_answer.clear()
    pages = pages_of(log)
    first, second = (gevent.spawn(pages.read, JOB, 0, PAGE) for _ in range(2))
    gevent.spawn(first.kill)
    gevent.joinall([first, second])
    assert isinstance(second.exception, StoreUnavailable)
    log.may_answer.set()
    assert len(pages.read(JOB, 0, PAGE).rows) == 1


def test_pages_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest go when there are too many bytes of them; a page itself holds a bounded number, and at least one."""
    monkeypatch.setattr("spool.following.replay_cache._KEPT_BYTES", 1000)
    monkeypatch.setattr("spool.following.replay_cache._PAGE_BYTES", 500)
    log = Log(*(["x" * 100] * 20), "y" * 5000)
    pages = pages_of(log)
    for after in range(20):
        page = pages.read(JOB, after, PAGE)
        assert page.full == (after < 17) or page.rows
        assert page.size <= 500
        assert pages._bytes <= 1000
    assert [len(raw) > 5000 for _id, raw in pages.read(JOB, 20, PAGE).rows] == [True]


def test_page_ends_at_a_hole() -> None:
    """What is behind a hole comes with the next page, whose reader is told of the gap."""
    one, two, _three, four = tokens(1, "a", "b", "c", "d")
    page = Page([(1, one), (2, two), (4, four)])
    assert [entry_id for entry_id, _raw in page.rows] == [1, 2]
    assert not page.full
