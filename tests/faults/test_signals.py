"""Signals that are not SIGTERM: a closed terminal ends a worker in order, and what has no meaning does nothing."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.faults.crowd import Crowd
from tests.faults.jobs import Jobs
from tests.faults.vitals import processes_of
from tests.stack import running_stack, wait_for


@pytest.mark.slow
def test_worker_hang_up(directory: Path) -> None:
    """SIGHUP ends a worker as SIGTERM does: its job is handed back, costs no attempt, and goes on elsewhere."""
    with running_stack(directory, webs=1, workers=1, LEASE_S=30, WORKER_DRAIN_S=0) as stack:
        worker = stack.workers[0]
        jobs = Jobs(stack)
        job = jobs.submit(tokens=100, rate=50)
        jobs.wait_for_entries([job], 5)
        os.kill(worker.pid, signal.SIGHUP)
        assert worker.wait(15) == 0
        assert jobs.field(job, "status") == "queued"
        worker.start()
        jobs.wait_for_end()
        assert jobs.violations() == []
        assert jobs.field(job, "losses") == "0"
        assert "Traceback" not in worker.output.read_text()


@pytest.mark.slow
def test_signals_without_a_meaning(directory: Path) -> None:
    """SIGUSR1 and SIGUSR2 to a worker, and these and SIGHUP to what serves under a web, disturb nothing."""
    with running_stack(directory, webs=1, workers=1) as stack, Crowd([stack.webs[0].url]) as crowd:
        jobs = Jobs(stack)
        job = jobs.submit(tokens=100, rate=50)
        following = crowd.follow(job, "sse")
        jobs.wait_for_entries([job], 5)
        for number in (signal.SIGUSR1, signal.SIGUSR2):
            os.kill(stack.workers[0].pid, number)
        (serving,) = processes_of(stack.webs[0])
        for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
            os.kill(serving, number)
        jobs.wait_for_end()
        assert crowd.unfinished(10) == []
        assert jobs.violations([following]) == []
        assert following.reconnects == 0
        assert jobs.fields([job], "attempt") == ["1"]
        assert processes_of(stack.webs[0]) == [serving]


@pytest.mark.slow
def test_web_hang_up(directory: Path) -> None:
    """SIGHUP to a web's master begins its processes anew: streams are sent elsewhere in order, and resume."""
    with running_stack(directory, webs=1, workers=1, DRAIN_S=1) as stack, Crowd([stack.webs[0].url]) as crowd:
        jobs = Jobs(stack)
        job = jobs.submit(tokens=150, rate=50)
        following = crowd.follow(job, "sse")
        jobs.wait_for_entries([job], 5)
        before = processes_of(stack.webs[0])
        os.kill(stack.webs[0].pid, signal.SIGHUP)
        wait_for(lambda: not set(before) & set(processes_of(stack.webs[0])), "the processes are others")
        jobs.wait_for_end()
        assert crowd.unfinished(10) == []
        assert jobs.violations([following]) == []
