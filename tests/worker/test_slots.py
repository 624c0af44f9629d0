"""The slots of a process: how many are free, and which of them claim."""

from __future__ import annotations

from typing import cast

import gevent
import pytest
from gevent.event import Event

from spool.jobs.claims import Claim, Wanted
from spool.redis.server_check import FitnessCheck
from worker.claiming import Claimer
from worker.runner import JobRunner
from worker.slots import Slots


class Job(str):
    """A claim, by its name."""

    has_more = True


class Work:
    """A claimer and a runner: claims take ``jobs`` in turn, and each job runs until ``ends`` is set."""

    def __init__(self, jobs: int) -> None:
        self.jobs = [Job(f"job {number}") for number in range(jobs)]
        self.wanted: list[Wanted] = []
        self.ran: list[str] = []
        self.answers = Event()
        self.answers.set()
        self.ends = Event()
        self.has_just_looked = False
        self.rung_at = float("-inf")
        self.is_fit = True
        self.waiting = 0

    def rung(self) -> None:
        """Nothing to note."""

    def make_room(self) -> None:
        """Nothing to note."""

    def look(self) -> None:
        """Always as fit as before."""

    def take(self, wanted: Wanted) -> Job | None:
        """The next job, once ``answers`` is set."""
        self.wanted.append(wanted)
        self.answers.wait()
        return self.jobs.pop(0) if self.jobs else None

    def run(self, claim: Claim) -> None:
        """A job that ends when all do."""
        self.ran.append(cast(str, claim))
        self.ends.wait()


class Bench:
    """Two slots over a queue of ``jobs``."""

    def __init__(self, jobs: int = 0) -> None:
        self.work = Work(jobs)
        self.draining = Event()
        self.is_drained = False
        self.slots = Slots(
            cast(Claimer, self.work),
            cast(JobRunner, self.work),
            cast(FitnessCheck, self.work),
            self.draining,
            count=2,
            bells=True,
            is_drained=lambda: self.is_drained,
        )


def test_slot_is_in_use_from_before_the_claim_until_the_job_ends() -> None:
    """A claim under way may bring a job, so its slot is not free; without a job, and after a job, it is free again."""
    bench = Bench(jobs=1)
    bench.work.answers.clear()
    running = gevent.spawn(bench.slots.run_one, "any")
    gevent.sleep(0)
    assert (bench.slots.busy, bench.slots.free, bench.work.ran) == (1, 1, [])
    bench.work.answers.set()
    gevent.sleep(0)
    assert (bench.slots.busy, bench.slots.free, bench.work.ran) == (1, 1, ["job 0"])
    bench.work.ends.set()
    running.join()
    assert (bench.slots.busy, bench.slots.free) == (0, 2)
    assert not bench.slots.run_one("any")
    assert bench.slots.busy == 0


def test_slot_of_a_claim_or_a_job_that_breaks_is_free_again() -> None:
    """No error costs a slot."""
    bench = Bench(jobs=1)

    def breaks(*_: object) -> None:
        raise RuntimeError("a bug, for the test")

    for name in ("run", "take"):
        setattr(bench.work, name, breaks)
        with pytest.raises(RuntimeError):
            bench.slots.run_one("any")
        assert bench.slots.busy == 0


def test_bell_runs_all_jobs() -> None:
    """One after the other, until nothing is pending, and none where a claim has just found nothing."""
    bench = Bench(jobs=3)
    bench.work.ends.set()
    bench.work.has_just_looked = True
    bench.slots.rung()
    assert bench.work.ran == []
    bench.work.has_just_looked = False
    bench.slots.rung()
    assert bench.work.ran == ["job 0", "job 1", "job 2"]


def test_bell_of_an_only_job() -> None:
    """No other claim follows a job that was the only one, unless all slots were in use meanwhile: then a bell may not
    have been heard."""
    bench = Bench(jobs=2)
    bench.work.jobs[0].has_more = False
    bench.work.ends.set()
    bench.slots.rung()
    assert (bench.work.ran, bench.work.wanted) == (["job 0"], ["any"])

    bench = Bench(jobs=3)
    bench.work.jobs[0].has_more = bench.work.jobs[1].has_more = False
    running = [gevent.spawn(bench.slots.rung) for _ in range(2)]
    gevent.sleep(0)
    assert bench.slots.free == 0
    bench.work.ends.set()
    gevent.joinall(running)
    assert bench.work.ran == ["job 0", "job 1", "job 2"]


@pytest.mark.parametrize("why", ["draining", "unfit"])
def test_no_slot_is_free(why: str) -> None:
    """A process that stops, or whose Redis is unfit, claims nothing and asks for no bell."""
    bench = Bench(jobs=1)
    if why == "draining":
        bench.draining.set()
    else:
        bench.work.is_fit = False
    assert (bench.slots.free, bench.slots.reported_free) == (0, 0)
    bench.slots.rung()
    assert bench.work.wanted == []


def test_job_that_waits_for_its_upstream_holds_no_slot() -> None:
    """Other jobs use the slots of those that wait, up to as many as there are slots."""
    bench = Bench(jobs=9)
    bench.slots.fill()
    assert (bench.slots.busy, bench.slots.free) == (2, 0)
    bench.work.waiting = 5
    assert bench.slots.free == 2
    bench.slots.fill()
    assert (bench.slots.busy, bench.slots.free) == (4, 0)
    bench.work.ends.set()


def test_patrol_fills_the_slots_and_claims_retries_beyond() -> None:
    """Without bells a patrol finds jobs for the free slots, and retries for as many slots again, but no more."""
    bench = Bench(jobs=9)
    patrol = gevent.spawn(bench.slots.patrol)
    with gevent.Timeout(30):
        while bench.slots.busy < 4:
            gevent.sleep(0.01)
    assert bench.work.wanted == ["any", "any", "retries", "retries"]
    assert bench.slots.free == 0
    bench.draining.set()
    bench.work.ends.set()
    with gevent.Timeout(30):
        patrol.join()
        while bench.slots.busy:
            gevent.sleep(0.01)
    assert len(bench.work.ran) == 4


def test_drained_worker_has_no_free_slot() -> None:
    """While a switch drains it, it reports none and claims nothing; afterwards it does again."""
    bench = Bench(jobs=1)
    bench.is_drained = True
    bench.slots.rung()
    assert (bench.slots.reported_free, bench.work.wanted) == (0, [])
    bench.is_drained = False
    gevent.spawn(bench.slots.rung)
    gevent.sleep(0)
    assert bench.work.ran == ["job 0"]
    bench.work.ends.set()
