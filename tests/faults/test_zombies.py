"""Workers that stand still past their leases and then wake up: others go on, and nobody hears of the zombie again."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from tests.faults.crowd import Crowd
from tests.faults.jobs import Jobs, recoveries, spread
from tests.faults.measured import measured
from tests.faults.transports import TRANSPORTS
from tests.faults.upstreams import MODEL, stack_with
from tests.scripted_upstream import Call, says
from tests.stack import running_stack, wait_for

LEASE_S = 2


@pytest.mark.slow
def test_zombie_is_refused_and_stops_its_upstream_call(directory: Path) -> None:
    """SIGSTOP past the lease, and SIGCONT while the next attempt is under way: nothing of what the zombie's upstream
    said meanwhile gets into the log, and its call is closed."""
    stopped_s: list[float] = []

    def goes_on_and_on(call: Call) -> None:
        call.begin()
        call.text("Hello")
        call.hold(60)
        while True:
            call.text(" from a zombie")
            call.hold(0.05)

    def waits(call: Call) -> None:
        call.begin()
        call.text("Right")
        call.hold(60)
        call.done()

    options: dict[str, Any] = {"workers": 2, "LEASE_S": LEASE_S}
    with (
        stack_with(directory, goes_on_and_on, waits, says("wrong"), **options) as (stack, upstream),
        Crowd([web.url for web in stack.webs]) as crowd,
    ):
        jobs = Jobs(stack)
        job = jobs.submit(fields=MODEL)
        readers = [crowd.follow(job, transport) for transport in TRANSPORTS if transport != "text"]
        jobs.wait_for_entries([job], 2)
        zombie = jobs.worker_of(job)
        stopped = time.time()
        zombie.pause()
        upstream.calls[0].go_on()
        second = upstream.wait_for_call(2)
        wait_for(lambda: jobs.field(job, "attempt") == "2", "attempt 2", LEASE_S + 5)
        jobs.wait_for_entries([job], 4)
        resumed = time.monotonic()
        zombie.resume()
        wait_for(lambda: upstream.calls[0].gone_at, "the zombie closes its upstream call", 10)
        stopped_s.append((upstream.calls[0].gone_at or 0) - resumed)
        second.go_on()
        jobs.wait_for_end()
        assert crowd.unfinished(10) == []
        assert jobs.violations(readers) == []
        kinds = [entry["kind"] for entry in jobs.log(job)]
        assert kinds == ["started", "token", "restarted", "token", "done"]
        assert jobs.log(job)[3]["text"] == "Right"
        assert len(upstream.calls) == 2
        assert zombie.running
        measured(
            "worker SIGSTOP past its lease",
            upstream_closed_s=round(stopped_s[0], 2),
            **spread(recoveries(jobs, [job], stopped)),
        )


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_zombies_by_turns(directory: Path) -> None:
    """One worker after the other stands still, with jobs on both and all transports reading: each log is golden, and
    readers do not reconnect."""
    found: list[float] = []
    with running_stack(directory, LEASE_S=LEASE_S) as stack, Crowd([web.url for web in stack.webs]) as crowd:
        jobs = Jobs(stack)
        for number in range(4):
            ids = [jobs.submit(f"zombie {number}.{n}", tokens=120, rate=15) for n in range(8)]
            readers = [crowd.follow(job, transport) for job in ids for transport in TRANSPORTS]
            jobs.wait_for_entries(ids, 5)
            zombie = stack.workers[number % 2]
            lost = jobs.running_on(zombie, ids)
            stopped = time.time()
            zombie.pause()
            wait_for(
                lambda lost=lost: set(jobs.fields(lost, "attempt")) <= {"2"},  # type: ignore[misc]
                "attempt 2 of all that the zombie had",
                LEASE_S + 10,
            )
            zombie.resume()
            jobs.wait_for_end(ids)
            assert crowd.unfinished(10) == []
            assert sum(r.reconnects for r in readers if not r.transport.endswith("polling")) == 0
            found += recoveries(jobs, lost, stopped)
            stack.wait_ready()
        assert jobs.violations(crowd.followings) == []
        assert max(found) <= LEASE_S + 5
        assert all(worker.running for worker in stack.workers)
        measured("worker SIGSTOP past its lease, by turns", readers=len(crowd.followings), **spread(found))


@pytest.mark.slow
@pytest.mark.parametrize("times", [1, 2, 3])
def test_every_worker_stands_still(directory: Path, times: int) -> None:
    """All workers at once, so often: nobody is there to go on, so the jobs wait, and the workers that wake up take
    them again, under new fences, while the old attempts are still theirs. As often as jobs have attempts is once too
    often."""
    with running_stack(directory, LEASE_S=LEASE_S, MAX_ATTEMPTS=3) as stack:
        jobs = Jobs(stack)
        ids = [jobs.submit(f"all {n}", tokens=300, rate=20) for n in range(6)]
        jobs.wait_for_entries(ids, 5)
        for number in range(times):
            for worker in stack.workers:
                worker.pause()
            wait_for(
                lambda n=number: set(jobs.fields(ids, "losses")) == {str(n + 1)},  # type: ignore[misc]
                "the webs notice",
                LEASE_S + 10,
            )
            for worker in stack.workers:
                worker.resume()
            if number + 1 < times:
                jobs.wait_for_status(ids, "running")
                last = max(int(one) for one in jobs.fields(ids, "last"))
                jobs.wait_for_entries(ids, last + 5)
        jobs.wait_for_end(within_s=90)
        assert jobs.violations() == []
        assert set(jobs.fields(ids, "status")) == {"succeeded" if times < 3 else "failed"}
        assert all(worker.running for worker in stack.workers)
