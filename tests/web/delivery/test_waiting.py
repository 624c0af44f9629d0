"""The loop that waits for an answer: why it ends, and what it has taken by then."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from flask import Flask, g

from spool.access.caller import ANONYMOUS
from spool.deadline import Deadline
from spool.errors import Draining, JobGone
from spool.following.reader import Reader
from spool.jobs.entries import Kind
from tests.web.logs import Followed, Logs, entries_of, job_of
from web.access.tenures import Tenures
from web.delivery.waiting import Outcome, collect, wait_for_all, wait_for_end
from web.folds import Folds
from web.limits.streams import StreamSlots

SAID = [(Kind.STARTED, {"attempt": 1, "model": "demo"}), (Kind.TOKEN, {"text": "a"})]
ENDED = [*SAID, (Kind.DONE, {"finish_reason": "stop"})]
NEVER = Deadline.never()


class Collected:
    """What was taken; ``count`` of them are enough, or the end."""

    def __init__(self, count: int | None = None) -> None:
        self.ids: list[int] = []
        self.calls = 0
        self._count = count

    def enough(self, rows: list[Any], _gap: object, ended: bool) -> bool:
        self.calls += 1
        self.ids += [entry_id for entry_id, _raw in rows]
        return ended if self._count is None else len(self.ids) >= self._count

    def add_all(self, raws: list[bytes]) -> None:
        self.ids += range(len(self.ids) + 1, len(self.ids) + len(raws) + 1)


def reader_of(said: list[Any]) -> Reader:
    """A reader of this log from its start; its last entry is in memory."""
    logs = Logs(said)
    reader = Followed(logs, live=1).attach(job_of(logs), 0)
    reader.feed.ready = True
    return reader


def services_of(logs: Logs) -> Any:
    """What a waiting request needs of its process."""
    followed = Followed(logs)
    authenticator = SimpleNamespace(tenures=Tenures(lambda _caller: True, lambda _caller: False))
    folds = Folds(followed)  # type: ignore[arg-type]
    return SimpleNamespace(follower=followed, folds=folds, slots=StreamSlots(1), authenticator=authenticator)


@contextmanager
def request() -> Iterator[None]:
    """A request of a caller."""
    with Flask(__name__).test_request_context():
        g.caller = ANONYMOUS
        yield


def test_enough() -> None:
    """It takes entries, page by page, until the caller has enough, and no more after that."""
    taken = Collected()
    assert collect(reader_of(ENDED), {}, NEVER, taken.enough) is Outcome.ENOUGH
    assert taken.ids == [1, 2, 3]
    long = entries_of(1000)
    some = Collected(600)
    assert collect(reader_of(long), {}, NEVER, some.enough) is Outcome.ENOUGH
    assert 600 <= len(some.ids) < len(long)


def test_deadline() -> None:
    """A deadline that has passed ends the wait, after the entries that are there have been taken."""
    taken = Collected()
    assert collect(reader_of(SAID), {}, Deadline.after(0), taken.enough) is Outcome.LATE
    assert taken.ids == [1, 2]


def test_drain() -> None:
    """A reader that must leave a draining process takes what is there and waits no longer."""
    reader, taken = reader_of(SAID), Collected()
    reader.leave_at = float("-inf")
    assert collect(reader, {}, NEVER, taken.enough) is Outcome.DRAINING
    assert taken.ids == [1, 2]


def test_client_that_disconnects() -> None:
    """A client that disconnects ends the wait at once."""
    ours, client = socket.socketpair()
    with ours:
        client.close()
        assert collect(reader_of(SAID), {"gunicorn.socket": ours}, NEVER, Collected().enough) is Outcome.LEFT


def test_wait_for_the_end_takes_a_slot() -> None:
    """A wait costs a slot while it lasts, and tells whether the job has ended."""
    logs = Logs(ENDED)
    services = services_of(logs)
    with request():
        assert wait_for_end(services, job_of(logs), 60)
        assert services.slots.taken == 0
        unfinished = Logs(SAID)
        assert not wait_for_end(services_of(unfinished), job_of(unfinished), 0)


def test_wait_for_the_whole_answer() -> None:
    """A log that has ended is folded to its end."""
    logs, into = Logs(ENDED), Collected()
    with request():
        assert wait_for_all(services_of(logs), job_of(logs), into)  # type: ignore[arg-type]
    assert into.ids == [1, 2, 3]


def test_whole_answer_with_a_gap() -> None:
    """An answer whose entries are missing is gone, not shorter."""
    logs = Logs(ENDED, ids=[4, 5, 6])
    with request(), pytest.raises(JobGone):
        wait_for_all(services_of(logs), job_of(logs), Collected())  # type: ignore[arg-type]


def test_whole_answer_while_the_process_drains() -> None:
    """A process that drains before the end raises, so that the client asks another one."""
    logs = Logs(SAID)
    services = services_of(logs)
    attach = services.follower.attach

    def leaving(*args: Any, **options: Any) -> Reader:
        reader: Reader = attach(*args, **options)
        reader.leave_at = float("-inf")
        return reader

    services.follower = SimpleNamespace(attach=leaving)
    with request(), pytest.raises(Draining):
        wait_for_all(services, job_of(logs), Collected())  # type: ignore[arg-type]
