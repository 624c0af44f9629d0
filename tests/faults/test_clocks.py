"""A worker, or a web, whose wall clock is an hour off: leases, deadlines and bells know Redis's clock alone."""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.faults.crowd import Crowd
from tests.faults.jobs import Jobs, recoveries, spread
from tests.faults.measured import measured
from tests.faults.shifted import shifted, shim_in
from tests.faults.upstreams import MODEL, stack_with
from tests.scripted_upstream import refuses, says
from tests.stack import running_stack, wait_for

HOUR_S = 3600
LEASE_S = 2
HALF_S = 30


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that shifts the clock of a process which is started with it."""
    return shim_in(tmp_path_factory.mktemp("clock"))


def said_at(entry: dict[str, str]) -> float:
    """The epoch time that an entry bears."""
    return datetime.fromisoformat(entry["at"]).timestamp()


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("shift_s", [HOUR_S, -HOUR_S])
def test_clock_of_one_worker(directory: Path, shim: Path, shift_s: int) -> None:
    """Beside a worker with the right time: no lease of either is taken over, whatever the other's clock says, both
    take jobs, and when one of them dies, the other one goes on in time."""
    with (
        running_stack(directory, LEASE_S=LEASE_S, worker_env={0: shifted(shim, shift_s)}) as stack,
        Crowd([web.url for web in stack.webs]) as crowd,
    ):
        jobs = Jobs(stack)
        ids = [jobs.submit(f"clock {n}", tokens=200, rate=20) for n in range(20)]
        readers = [crowd.follow(job, "sse") for job in ids]
        jobs.wait_for_entries(ids, 5)
        theirs = [jobs.running_on(worker, ids) for worker in stack.workers]
        assert all(theirs)
        # What its entries say is the worker's own time; nothing is decided by it.
        assert abs(said_at(jobs.log(theirs[0][0])[2]) - time.time() - shift_s) < 60
        jobs.wait_for_end(ids)
        assert set(jobs.fields(ids, "attempt")) == {"1"}
        found: list[float] = []
        for worker in stack.workers:
            ids = [jobs.submit(f"{worker.name} dies {n}", tokens=150, rate=20) for n in range(10)]
            readers += [crowd.follow(job, "websocket") for job in ids]
            jobs.wait_for_entries(ids, 5)
            lost = jobs.running_on(worker, ids)
            killed = time.time()
            worker.kill()
            jobs.wait_for_end(ids)
            found += recoveries(jobs, lost, killed)
            worker.start()
            stack.wait_ready()
        assert crowd.unfinished(10) == []
        assert jobs.violations(readers) == []
        assert max(found) <= LEASE_S + 5
        measured(f"clock of one worker {shift_s / HOUR_S:+.0f} h", leases_taken_over=0, **spread(found))


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("shift_s", [HOUR_S, -HOUR_S])
def test_clock_of_the_only_worker(directory: Path, shim: Path, shift_s: int) -> None:
    """It hears its bells, which were rung by another clock; deadlines are kept, and so is what an upstream asked to
    wait."""
    options: dict[str, Any] = {"worker_env": {0: shifted(shim, shift_s)}, "LEASE_S": LEASE_S}
    with stack_with(directory, refuses(429, Retry_After="1"), says("hi"), **options) as (stack, upstream):
        jobs = Jobs(stack)
        demo = {"model": "demo"}
        ids = [jobs.submit(f"bell {n}", tokens=5, rate=0, first_token_s=0, fields=demo) for n in range(20)]
        jobs.wait_for_end(ids)
        waits = [jobs.attempts(job)[0] - float(jobs.field(job, "created_ms")) / 1000 for job in ids]
        late = jobs.submit("late", tokens=500, rate=20, fields={**demo, "timeout_s": 3})
        asks = jobs.submit("asks", fields=MODEL)
        jobs.wait_for_end()
        assert jobs.field(asks, "status") == "succeeded"
        assert upstream.calls[1].at - upstream.calls[0].at < HALF_S
        lived_s = (float(jobs.field(late, "ended_ms")) - float(jobs.field(late, "created_ms"))) / 1000
        assert jobs.log(late)[-1]["error"]["code"] == "deadline_exceeded"
        assert 2.9 < lived_s < 8
        assert jobs.violations() == []
        measured(
            f"clock of the only worker {shift_s / HOUR_S:+.0f} h",
            deadline_of_3_s_kept_at=round(lived_s, 1),
            **spread(waits),
        )


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("shift_s", [HOUR_S, -HOUR_S])
def test_clock_of_one_web(directory: Path, shim: Path, shift_s: int) -> None:
    """Its keeper takes over no lease, its bells are heard, its streams are those of the others."""
    with running_stack(directory, workers=1, LEASE_S=LEASE_S) as stack, Crowd([w.url for w in stack.webs]) as crowd:
        web = stack.webs[0]
        web.stop()
        web.env = {**web.env, **shifted(shim, shift_s)}
        web.start()
        wait_for(web.is_ready, "the web is ready", 30)
        # The other one's keeper is out of the way for a while.
        stack.webs[1].pause()
        answers = stack.client(0)
        ids = []
        for number in range(20):
            body = {"prompt": f"web {number}", "params": {"tokens": 60, "rate": 20}}
            ids.append(answers.post("/jobs", json=body).json()["id"])
        jobs = Jobs(stack)
        readers = [crowd.follow(job, "sse", web=0) for job in ids]
        jobs.wait_for_end(ids)
        assert crowd.unfinished(10) == []
        stack.webs[1].resume()
        assert set(jobs.fields(ids, "attempt")) == {"1"}
        assert set(jobs.fields(ids, "status")) == {"succeeded"}
        assert jobs.violations(readers) == []
        waits = [jobs.attempts(job)[0] - float(jobs.field(job, "created_ms")) / 1000 for job in ids]
        measured(f"clock of one web {shift_s / HOUR_S:+.0f} h: begun", **spread(waits))
