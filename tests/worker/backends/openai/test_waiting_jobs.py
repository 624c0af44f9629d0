"""Which waiting job calls next."""

from __future__ import annotations

import pytest

from worker.backends.openai.waiting_jobs import Caller, WaitingJobs


def order_of(waiting: WaitingJobs, epoch: int = 1) -> list[str]:
    """The jobs in the order of their probes."""
    order = []
    while waiting:
        caller = waiting.next(epoch)
        waiting.record_probe(caller)
        waiting.leave(caller)
        order.append(caller.job)
    return order


def test_probe_is_the_job_that_failed_least_and_of_another_owner() -> None:
    """Neither one bad job nor one owner's jobs are all that is tried while others wait."""
    waiting = WaitingJobs()
    waiting.record_probe(Caller("first", "mallory"))
    bad = Caller("bad", "bob")
    bad.failures = 2
    for caller in (bad, Caller("m1", "mallory"), Caller("m2", "mallory"), Caller("good", "alice")):
        waiting.join(caller)
    assert order_of(waiting) == ["good", "m1", "m2", "bad"]


@pytest.mark.parametrize(("epoch", "order"), [(1, ["old", "new"]), (2, ["new", "old"])], ids=["odd", "even"])
def test_oldest_and_newest_alternate(epoch: int, order: list[str]) -> None:
    """A job that would succeed is tried soon, wherever it stands among others that fail alike."""
    waiting = WaitingJobs()
    for job in ("old", "new"):
        waiting.join(Caller(job))
    assert order_of(waiting, epoch) == order


def test_choice_holds_until_something_changes() -> None:
    """The next job is chosen once, and again after a job joined, left or failed."""
    waiting, one, other = WaitingJobs(), Caller("one"), Caller("other")
    waiting.join(one)
    waiting.join(other)
    assert not waiting.is_chosen
    assert waiting.next(1) is one
    one.failures = 1
    assert waiting.next(1) is one
    waiting.reorder()
    assert waiting.next(1) is other
    waiting.leave(other)
    assert not waiting.is_chosen
    assert waiting.next(1) is one


def test_owners_are_equal_again_once_probes_are_forgotten() -> None:
    """An owner that was probed while the gate was closed has no disadvantage at the next closing."""
    waiting = WaitingJobs()
    waiting.record_probe(Caller("first", "mallory"))
    waiting.forget_probes()
    waiting.join(Caller("m", "mallory"))
    waiting.join(Caller("a", "alice"))
    assert order_of(waiting) == ["m", "a"]
