"""Folds: a page at a time in a process, shared where several want the same, and only as long as somebody waits."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from itertools import count

import gevent
import pytest

from spool.errors import TooManyFolds
from spool.jobs.log import Run
from tests.web.logs import Followed, Logs, entries_of, job_of
from web.folds import CLIENT_LEFT, FOLDS_AT_MOST, KEPT_BYTES, KEPT_ONE_BYTES, WHOLE_AT_MOST, WHOLE_OF_OWNER, Folds
from web.problems import Problem


class Counted:
    """A fold that says how much it got, and is as large as it is told."""

    def __init__(self, size: int = 1) -> None:
        self.count = 0
        self.size = size

    def add_all(self, raws: Sequence[bytes]) -> None:
        """Entries one by one."""
        self.count += len(raws)

    def add_run(self, run: Run) -> bool:
        """Entries at once."""
        self.count += run.count
        return True


def folds_of(logs: Logs) -> Folds:
    """Folds of these logs, by a clock on which every turn is over after one page."""
    return Folds(Followed(logs), clock=count().__next__, sleep=lambda _seconds: gevent.sleep(0))  # type: ignore[arg-type]


def wanted() -> bool:
    """The client is there."""
    return True


def test_folds_take_turns() -> None:
    """Two long logs are read a page each in turn, and never two pages at a time."""
    logs = Logs(entries_of(5000))
    folds, one, other = folds_of(logs), job_of(logs), job_of(logs, "j0-" + "1" * 26)
    results = [Counted(), Counted()]
    begun = [gevent.spawn(folds.fold, job, into, wanted) for job, into in zip((one, other), results, strict=True)]
    gevent.joinall(begun, raise_error=True)
    assert [result.count for result in results] == [len(logs.entries)] * 2
    pages = len(logs.asked) // 2
    assert logs.asked[: 2 * pages] == [one.id, other.id] * pages


def test_everything_else_runs_between_two_pages() -> None:
    """Another greenlet gets to run at least as often as there are pages, even if all of them are in memory."""
    logs = Logs(entries_of(5000))
    folds, job, ran = folds_of(logs), job_of(logs), [0]
    folds.fold(job, Counted(), wanted)

    def run() -> None:
        while True:
            ran[0] += 1
            gevent.sleep(0)

    beside = gevent.spawn(run)
    folds.fold(job, Counted(), wanted)
    beside.kill()
    assert ran[0] >= len(logs.entries) // 500


def test_result_is_shared_and_kept() -> None:
    """Those who want the same result at the same time, or later, get one fold's."""
    logs = Logs(entries_of(2000))
    folds, job = folds_of(logs), job_of(logs)
    logs.may_answer.clear()
    asking = [gevent.spawn(folds.result, job, Counted(), wanted) for _ in range(10)]
    gevent.sleep(0)
    logs.may_answer.set()
    gevent.joinall(asking, raise_error=True)
    asked = len(logs.asked)
    assert len({id(one.value) for one in asking}) == 1
    assert folds.result(job, Counted(), wanted) is asking[0].value
    assert len(logs.asked) == asked
    assert asked <= len(logs.entries) // 500 + 2


def test_results_are_bounded() -> None:
    """The least recently wanted result goes when there is no room, and one that is too large is not kept at all."""
    logs = Logs(entries_of(10))
    folds = folds_of(logs)
    jobs = [job_of(logs, f"j0-{n:026}") for n in range(KEPT_BYTES // KEPT_ONE_BYTES + 1)]
    first = [folds.result(job, Counted(KEPT_ONE_BYTES), wanted) for job in jobs]
    again = [folds.result(job, Counted(1), wanted) for job in reversed(jobs)]
    assert [one is other for one, other in zip(first, reversed(again), strict=True)] == [False] + [True] * (
        len(jobs) - 1
    )
    large = job_of(logs, "j0-" + "f" * 26)
    assert folds.result(large, Counted(KEPT_ONE_BYTES + 1), wanted) is not folds.result(large, Counted(), wanted)


def test_fold_ends_when_its_client_leaves() -> None:
    """A fold whose client has left stops before the next page; one that waited for its result makes it."""
    logs = Logs(entries_of(5000))
    folds, job, is_there = folds_of(logs), job_of(logs), [True]
    logs.may_answer.clear()
    leaving = gevent.spawn(folds.result, job, Counted(), lambda: is_there[0])
    staying = gevent.spawn(folds.result, job, Counted(), wanted)
    gevent.sleep(0)
    is_there[0] = False
    logs.may_answer.set()
    with pytest.raises(Problem) as left:
        leaving.get(timeout=60)
    assert left.value.status == CLIENT_LEFT
    assert staying.get(timeout=60).count == len(logs.entries)


def test_folds_are_bounded() -> None:
    """Beyond so many folds for plain answers another is refused at once, with a time to come back."""
    logs = Logs(entries_of(10))
    folds = folds_of(logs)
    logs.may_answer.clear()
    jobs = [job_of(logs, f"j0-{n:026}") for n in range(FOLDS_AT_MOST)]
    begun = [gevent.spawn(folds.fold, job, Counted(), wanted) for job in jobs]
    gevent.sleep(0)
    with pytest.raises(TooManyFolds) as refused:
        folds.fold(job_of(logs), Counted(), wanted)
    assert refused.value.retry_after_s > 0
    logs.may_answer.set()
    gevent.joinall(begun, raise_error=True)
    folds.fold(job_of(logs), Counted(), wanted)


def test_whole_answers_wait_for_their_turn() -> None:
    """Only so many answers are made whole at a time; one whose client leaves while it waits is not made."""
    folds = folds_of(Logs(entries_of(1)))
    with ExitStack() as making:
        for number in range(WHOLE_AT_MOST):
            assert making.enter_context(folds.whole(f"owner {number % 2}", wanted))
        with folds.whole("alice", lambda: False) as is_turn:
            assert not is_turn
    with folds.whole("alice", wanted) as is_turn:
        assert is_turn


def test_one_owner_leaves_places_for_whole_answers() -> None:
    """However many one owner asks for, another owner's is made at once; nothing is kept of either."""
    folds = folds_of(Logs(entries_of(1)))
    with ExitStack() as making:
        for _ in range(WHOLE_OF_OWNER):
            assert making.enter_context(folds.whole("alice", wanted))
        with folds.whole("alice", lambda: False) as is_turn:
            assert not is_turn
        with folds.whole("bob", lambda: False) as is_turn:
            assert is_turn
    assert folds._places == {}
