"""Bells: a message that comes twice or for nothing runs nothing twice, and many waiting jobs make no storm of them."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from spool.bell import celery_app
from spool.bell_queue import QUEUE, TASK
from spool.redis.urls import broker_url_from
from tests.faults.jobs import Jobs, recoveries, spread
from tests.faults.measured import measured
from tests.stack import Stack, running_stack, wait_for

LEASE_S = 2


def waiting_bells(stack: Stack) -> int:
    """Messages in the broker that nobody has taken."""
    return int(stack.redis.link.call("LLEN", QUEUE))


def rung(stack: Stack) -> int:
    """Messages that were ever given to the broker. Nothing else in Spool uses LPUSH."""
    stat = stack.redis.info("commandstats").get("cmdstat_lpush", "calls=0,")
    return int(stat.removeprefix("calls=").partition(",")[0])


@pytest.mark.slow
def test_message_that_is_delivered_twice(directory: Path) -> None:
    """The very bytes of each bell ten times in the broker's queue: each job has one attempt, and says all once."""
    with running_stack(directory, webs=1, workers=2, LEASE_S=LEASE_S) as stack:
        jobs = Jobs(stack)
        for worker in stack.workers:
            worker.stop()
        for number in range(20):
            jobs.submit(f"twice {number}", tokens=20, rate=20)
        link = stack.redis.link
        wait_for(lambda: waiting_bells(stack) >= 20, "the bells are in the queue")
        messages = link.call("LRANGE", QUEUE, 0, -1)
        for _ in range(9):
            link.call("RPUSH", QUEUE, *messages)
        for worker in stack.workers:
            worker.start()
        jobs.wait_for_end()
        wait_for(lambda: waiting_bells(stack) == 0, "every bell is heard")
        assert jobs.violations() == []
        ids = [job.id for job in jobs.accepted]
        assert set(jobs.fields(ids, "attempt")) == {"1"}
        measured("the same Celery message ten times", jobs=len(ids), messages=len(messages) * 10, executions=len(ids))


@pytest.mark.slow
def test_bells_for_nothing(directory: Path) -> None:
    """Bells while nothing waits, for no job, an ended one, one that never was: nothing runs, and work goes on."""
    with running_stack(directory, webs=1, workers=1, LEASE_S=LEASE_S) as stack:
        jobs = Jobs(stack)
        ended = jobs.submit(tokens=3)
        jobs.wait_for_end()
        with celery_app(broker_url_from(stack.redis.url)) as app:
            for job in ("", ended, "j0-nonsense") * 50:
                app.send_task(TASK, args=(job,), expires=60, ignore_result=True)
        wait_for(lambda: waiting_bells(stack) == 0, "every bell is heard")
        after = jobs.submit("after", tokens=3)
        jobs.wait_for_end()
        assert jobs.violations() == []
        assert jobs.fields([ended, after], "attempt") == ["1", "1"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_ten_thousand_jobs_on_a_hundred_slots(directory: Path) -> None:
    """A queue of 10,000 is worked off with as many bells as there are free slots; and when a worker dies in the middle,
    its jobs go on before any that waits."""
    with running_stack(directory, concurrency=50, LEASE_S=LEASE_S) as stack:
        jobs = Jobs(stack)
        before = rung(stack)
        # All wait at the beginning, however long the submits take.
        for worker in stack.workers:
            worker.stop()
        ids = jobs.submit_many(10_000, "queue", tokens=10, rate=10, first_token_s=0)
        for worker in stack.workers:
            worker.start()
        began = time.monotonic()
        most = 0

        def ended() -> int:
            nonlocal most
            most = max(most, waiting_bells(stack))
            statuses = jobs.fields(ids, "status")
            return statuses.count("succeeded") + statuses.count("failed")

        wait_for(lambda: ended() >= 1500, "the first 1,500", 120)
        killed = time.time()
        stack.workers[0].kill()
        lost = jobs.running_on(stack.workers[0], jobs.running())
        assert len(lost) > 10
        wait_for(lambda: set(jobs.fields(lost, "attempt")) == {"2"}, "attempt 2 of what it ran", LEASE_S + 10)
        assert jobs.fields(ids, "status").count("queued") > 1000
        found = recoveries(jobs, lost, killed)
        stack.workers[0].start()
        wait_for(lambda: ended() == len(ids), "all of them", 400)
        seconds = time.monotonic() - began
        bells = rung(stack) - before
        assert jobs.violations() == []
        assert max(found) <= LEASE_S + 5
        # Free slots are what may be rung for: 100 with the submit, 100 a beat at most, and none that nobody hears.
        assert most <= 300
        assert bells <= 1000
        measured(
            "10,000 jobs on 100 slots, a worker killed",
            seconds=round(seconds),
            bells_rung=bells,
            most_bells_waiting=most,
            **spread(found),
        )
