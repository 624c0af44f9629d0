"""One claimed job's way through a process: run to its end, or handed back."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from dataclasses import replace
from typing import cast
from weakref import ref

import gevent
import pytest
from gevent.event import Event

from spool.bell import Bell
from spool.jobs.claims import Claim, Claims
from spool.models.model import DEMO
from spool.models.table import ModelTable
from spool.redis.link import RedisLink
from tests.by_hand import kinds_of, record, shards_of, submit
from worker.appender import Appender
from worker.backends import Finish, GenerationRequest, Piece, Text
from worker.claiming import Claimer
from worker.coalescing import DueQueue
from worker.ownership import OwnedAttempts
from worker.runner import JobRunner
from worker.watchdog import Watchdog

ELSEWHERE = replace(DEMO, name="elsewhere", backend="elsewhere")


class Says:
    """A backend that says one word once ``goes_on`` is set, and notes the greenlets of its jobs."""

    def __init__(self) -> None:
        self.greenlets: list[ref[gevent.Greenlet]] = []
        self.goes_on = Event()
        self.goes_on.set()

    def generate(self, request: GenerationRequest) -> Iterator[Piece]:  # noqa: ARG002
        self.greenlets.append(ref(gevent.getcurrent()))
        self.goes_on.wait()
        yield Text("word")
        yield Finish("stop")


class Bench:
    """A runner on a real Redis, with a claimer that asks for its jobs, and a bell that only notes for which it rang."""

    def __init__(self, link: RedisLink) -> None:
        self.link = link
        self.rung: list[str] = []
        self.draining = Event()
        self.backend = Says()
        shards = shards_of(link)
        claims = Claims(shards, worker="w", lease_s=10, max_attempts=3)
        self.attempts = OwnedAttempts(claims)
        self.claimer = Claimer(claims, lambda: [DEMO, ELSEWHERE], Watchdog(), Event(), lease_s=10, sleep=gevent.sleep)
        appenders = [Appender(shard, lease_s=10, sleep=gevent.sleep) for shard in shards]
        self.loops = [gevent.spawn(appender.run) for appender in appenders]
        self.runner = JobRunner(
            claims,
            self.claimer,
            self.attempts,
            models=ModelTable(link, [DEMO, ELSEWHERE]),
            backends={"demo": self.backend},
            appenders=appenders,
            due=DueQueue(),
            bell=cast(Bell, self),
            draining=self.draining,
            max_output_bytes=1000,
        )

    def ring(self, job_id: str) -> None:
        """A bell."""
        self.rung.append(job_id)

    def claimed(self) -> Claim:
        """A job of the queue, claimed."""
        claim = self.claimer.take("any")
        assert claim is not None
        return claim


@pytest.fixture
def bench(link: RedisLink) -> Iterator[Bench]:
    """A runner, whose appenders run."""
    made = Bench(link)
    yield made
    gevent.killall(made.loops)


def test_job_is_run_to_its_end(bench: Bench) -> None:
    """What the backend says is in the log when the runner returns, and no bell is needed."""
    job = submit(bench.link)
    bench.runner.run(bench.claimed())
    assert kinds_of(bench.link, job.id) == ["started", "token", "done"]
    assert record(bench.link, job.id)["status"] == "succeeded"
    assert (bench.rung, bench.attempts.running) == ([], {})


def test_nothing_of_a_job_waits_for_the_garbage_collector(bench: Bench) -> None:
    """An attempt's entries are kept for a while, its greenlet is not."""
    submit(bench.link)
    claim = bench.claimed()
    gc.collect()
    gc.disable()
    try:
        bench.runner.run(claim)
        # The hub lets go of a greenlet in its next round.
        gevent.sleep(0)
        assert [greenlet() for greenlet in bench.backend.greenlets] == [None]
    finally:
        gc.enable()
    assert bench.attempts.held(with_ended=True, server="")


def test_job_that_is_cancelled_is_interrupted(bench: Bench) -> None:
    """The answer about its log reaches the greenlet of a job that waits for its backend."""
    submit(bench.link)
    bench.backend.goes_on.clear()
    running = gevent.spawn(bench.runner.run, bench.claimed())
    gevent.sleep(0)
    (one,) = bench.attempts.running.values()
    one.attempt.log.answered(b"cancelled")
    with gevent.Timeout(30):
        running.join()
    assert (bench.attempts.running, one.attempt.log.outcome) == ({}, "cancelled")


def test_claim_that_comes_after_the_drain_began_is_given_back(bench: Bench) -> None:
    """It is queued again as if it had never been claimed, and a bell tells the other workers."""
    job = submit(bench.link)
    claim = bench.claimed()
    bench.draining.set()
    bench.runner.run(claim)
    found = record(bench.link, job.id)
    assert (found["status"], found["losses"], bench.backend.greenlets) == ("queued", "0", [])
    assert bench.rung == [job.id]


def test_job_without_a_backend_is_handed_back(bench: Bench) -> None:
    """A model whose backend this process does not have costs an attempt, so that such a job ends at last."""
    job = submit(bench.link, model=ELSEWHERE.name)
    bench.runner.run(bench.claimed())
    found = record(bench.link, job.id)
    assert (found["status"], found["losses"]) == ("queued", "1")
