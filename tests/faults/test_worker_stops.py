"""Workers that are told to stop: what runs is finished or handed back in bounded time, and no job is lost."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.faults.crowd import Crowd
from tests.faults.jobs import ENDED, Jobs, recoveries, spread
from tests.faults.measured import measured
from tests.stack import Process, running_stack

LEASE_S = 5
DRAIN_S = 2
LEAVES_WITHIN_S = DRAIN_S + 13
"""The drain, 6 s for handing back, 2 s for saying so, and Celery's own end on a busy machine."""


def end_with(worker: Process, signals: Sequence[signal.Signals]) -> float:
    """Send the signals to the worker, half a second apart, as long as it runs; how long it took to end."""
    began = time.monotonic()
    for number in signals:
        if worker.running:
            os.kill(worker.pid, number)
            time.sleep(0.5)
    worker.wait(LEAVES_WITHIN_S)
    return time.monotonic() - began


@pytest.mark.slow
def test_worker_that_is_stopped_hands_back(directory: Path) -> None:
    """SIGTERM: what does not finish within the drain time is handed back, and another worker continues at once,
    without an attempt being lost."""
    with running_stack(directory, workers=1, LEASE_S=30, WORKER_DRAIN_S=0) as stack:
        jobs = Jobs(stack)
        job = jobs.submit(tokens=150, rate=30)
        jobs.wait_for_entries([job], 10)
        stack.workers[0].stop()
        assert jobs.field(job, "status") == "queued"
        stack.workers[0].start()
        jobs.wait_for_end()
        assert jobs.violations() == []
        assert [entry["kind"] for entry in jobs.log(job)].count("continued") == 1
        assert jobs.field(job, "losses") == "0"


SIGNALS = {
    "SIGTERM": [signal.SIGTERM],
    "two SIGTERMs": [signal.SIGTERM, signal.SIGTERM],
    "SIGINT": [signal.SIGINT],
    "two SIGINTs": [signal.SIGINT, signal.SIGINT],
    "SIGQUIT": [signal.SIGQUIT],
    "SIGTERM and SIGQUIT": [signal.SIGTERM, signal.SIGQUIT],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SIGNALS)
def test_worker_that_gets(directory: Path, name: str) -> None:
    """Long jobs, and some that end within the drain time, half of them at a worker that is told to stop: it ends in
    bounded time, and the other one goes on with what it gave back. To ask once, or twice with SIGTERM, costs no job an
    attempt; what is more impatient is as a death, and its jobs go on when their leases have run out."""
    with (
        running_stack(directory, LEASE_S=LEASE_S, WORKER_DRAIN_S=DRAIN_S) as stack,
        Crowd([stack.webs[0].url]) as crowd,
    ):
        jobs = Jobs(stack)
        long = [jobs.submit(f"long {n}", tokens=240, rate=20) for n in range(20)]
        jobs.wait_for_entries(long, 5)
        short = [jobs.submit(f"short {n}", tokens=10, rate=10) for n in range(20)]
        jobs.wait_for_entries(short, 2)
        readers = [crowd.follow(job, "sse") for job in long]
        held = jobs.running_on(stack.workers[0], long)
        assert held
        asked = time.time()
        ended_s = end_with(stack.workers[0], SIGNALS[name])
        jobs.wait_for_end()
        assert crowd.unfinished(10) == []
        assert jobs.violations(readers) == []
        assert set(jobs.fields(long + short, "status")) == {"succeeded"}
        losses = sum(map(int, jobs.fields(long + short, "losses")))
        moved = [job for job in held if jobs.field(job, "attempt") == "2"]
        assert moved == held
        found = recoveries(jobs, moved, asked)
        measured(f"worker {name}", ended_s=round(ended_s, 1), attempts_lost=losses, **spread(found))
        assert max(found) <= DRAIN_S + LEASE_S + 5
        if name in ("SIGTERM", "two SIGTERMs", "SIGINT"):
            assert losses == 0


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("drain_s", [0, 1])
def test_workers_restarted_under_a_stream_of_short_jobs(directory: Path, drain_s: int) -> None:
    """SIGTERM while claims and ends are under way all the time, worker by worker: no job costs an attempt."""
    with running_stack(directory, LEASE_S=LEASE_S, WORKER_DRAIN_S=drain_s) as stack:
        jobs = Jobs(stack)
        ids = jobs.submit_many(1500, "stream", tokens=20, rate=40, first_token_s=0)
        ended_s = []
        for worker in stack.workers * 2:
            jobs.wait_for_status(jobs.running_on(worker, ids), *ENDED)
            ended_s.append(end_with(worker, [signal.SIGTERM]))
            assert jobs.running_on(worker, ids) == []
            worker.start()
            stack.wait_ready()
        jobs.wait_for_end(within_s=120)
        assert jobs.violations() == []
        assert set(jobs.fields(ids, "losses")) == {"0"}
        moved = sum(attempt != "1" for attempt in jobs.fields(ids, "attempt"))
        measured(
            f"workers restarted, drain {drain_s} s",
            jobs=len(ids),
            handed_back=moved,
            attempts_lost=0,
            **spread(ended_s),
        )
