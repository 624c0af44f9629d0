"""Workers that are killed: another one goes on within the lease and 5 s, and readers that stayed attached see it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.faults.crowd import Crowd
from tests.faults.jobs import Jobs, recoveries, spread
from tests.faults.measured import measured
from tests.faults.transports import TRANSPORTS
from tests.stack import Process, running_stack, wait_for

LEASE_S = 2
STREAMS = frozenset(TRANSPORTS) - {"long_polling", "short_polling"}


def started(worker: Process) -> int:
    """How often the worker's program has begun to take jobs."""
    return worker.output.read_bytes().count(b"runs up to")


@pytest.mark.slow
@pytest.mark.parametrize("programs", [1, 2])
def test_every_worker_killed_mid_answer(directory: Path, programs: int) -> None:
    """After SIGKILL of every worker, attached readers on every transport go on within the lease and 5 s, counted from
    when there is a worker again, and end with the text that an unbroken run gives."""
    with (
        running_stack(directory, webs=programs, workers=programs, LEASE_S=LEASE_S) as stack,
        Crowd([web.url for web in stack.webs]) as crowd,
    ):
        jobs = Jobs(stack)
        job = jobs.submit(tokens=200, rate=40)
        readers = [crowd.follow(job, transport) for transport in TRANSPORTS]
        jobs.wait_for_entries([job], 10)
        for worker in stack.workers:
            worker.kill()
        killed = time.time()
        for worker in stack.workers:
            worker.start()
        wait_for(lambda: all(started(worker) == 2 for worker in stack.workers), "the new workers are there", 60)
        ready = time.time()
        wait_for(lambda: jobs.field(job, "attempt") == "2", "attempt 2", LEASE_S + 5)
        assert crowd.unfinished(30) == []
        assert jobs.violations(readers) == []
        assert sum(reader.reconnects for reader in readers if reader.transport in STREAMS) == 0
        assert [entry["kind"] for entry in jobs.log(job)].count("continued") == 1
        measured(
            "every worker SIGKILL",
            workers=programs,
            lease_s=LEASE_S,
            workers_back_s=round(ready - killed, 2),
            **spread(recoveries(jobs, [job], killed)),
        )


@pytest.mark.slow
def test_worker_killed_before_the_first_token(directory: Path) -> None:
    """An attempt that died having said nothing is begun anew, announced by ``restarted``."""
    with running_stack(directory, workers=1, LEASE_S=LEASE_S) as stack:
        jobs = Jobs(stack)
        job = jobs.submit(tokens=30, rate=100, first_token_s=3)
        jobs.wait_for_status([job], "running")
        stack.workers[0].kill()
        stack.workers[0].start()
        jobs.wait_for_end()
        assert jobs.violations() == []
        kinds = [entry["kind"] for entry in jobs.log(job)]
        assert kinds[:2] == ["started", "restarted"]
        assert kinds.count("token") == 30


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("lease_s", "kills"), [(2, 6), (10, 3)])
def test_worker_killed_again_and_again(directory: Path, lease_s: int, kills: int) -> None:
    """Whichever worker dies, with readers on all transports attached to each of its jobs: attempt 2 comes within the
    lease and 5 s, on the connections that the readers have."""
    found: list[float] = []
    with running_stack(directory, LEASE_S=lease_s) as stack, Crowd([web.url for web in stack.webs]) as crowd:
        jobs = Jobs(stack)
        for number in range(kills):
            ids = [jobs.submit(f"kill {number}.{n}", tokens=100, rate=12) for n in range(6)]
            readers = [crowd.follow(job, transport) for job in ids for transport in TRANSPORTS]
            jobs.wait_for_entries(ids, 5)
            worker = stack.workers[number % 2]
            lost = jobs.running_on(worker, ids)
            killed = time.time()
            worker.kill()
            jobs.wait_for_end(ids)
            assert crowd.unfinished(10) == []
            assert sum(reader.reconnects for reader in readers if reader.transport in STREAMS) == 0
            found += recoveries(jobs, lost, killed)
            worker.start()
            stack.wait_ready()
        assert jobs.violations(crowd.followings) == []
        assert max(found) <= lease_s + 5
        measured("worker SIGKILL mid-answer", lease_s=lease_s, readers=len(crowd.followings), **spread(found))


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_worker_killed_while_all_slots_are_busy(directory: Path) -> None:
    """Two full workers, one of which dies, and more jobs that wait: the other one takes all of its jobs within the
    lease and 5 s, over its slots, before any new one."""
    slots = 20
    with (
        running_stack(directory, concurrency=slots, LEASE_S=LEASE_S) as stack,
        Crowd([web.url for web in stack.webs]) as crowd,
    ):
        jobs = Jobs(stack)
        # Not a batch, which leaves some slots to interactive jobs.
        ids = [jobs.submit(tokens=400, rate=15) for _ in range(2 * slots)]
        jobs.wait_for_entries(ids, 3)
        waiting = [jobs.submit("waits", tokens=5, rate=50) for _ in range(slots)]
        readers = [crowd.follow(job, "sse") for job in ids]
        jobs.wait_for_entries(ids, 20)
        lost = jobs.running_on(stack.workers[0], ids)
        assert len(lost) == slots
        assert set(jobs.fields(waiting, "status")) == {"queued"}
        killed = time.time()
        stack.workers[0].kill()
        wait_for(lambda: set(jobs.fields(lost, "attempt")) == {"2"}, "attempt 2 of all of them", LEASE_S + 10)
        assert set(jobs.fields(waiting, "status")) == {"queued"}
        found = recoveries(jobs, lost, killed)
        jobs.wait_for_end()
        assert crowd.unfinished(10) == []
        assert jobs.violations(readers) == []
        assert sum(reader.reconnects for reader in readers) == 0
        assert max(found) <= LEASE_S + 5
        measured("worker SIGKILL, all slots of the other busy", lease_s=LEASE_S, **spread(found))
