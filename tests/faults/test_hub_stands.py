"""A worker whose hub stands still while its heartbeat goes on: it ends itself, and its jobs go on elsewhere."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from spool.fail_points import VARIABLE
from tests.faults.crowd import Crowd
from tests.faults.jobs import Jobs, recoveries, spread
from tests.faults.measured import measured
from tests.faults.transports import TRANSPORTS
from tests.stack import running_stack, wait_for
from worker.watchdog import EXIT_STATUS, HUB_STANDS_S

LEASE_S = 2


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_worker_whose_hub_stands_still(directory: Path) -> None:
    """Its leases are renewed all the while, so nobody takes its jobs from it, until it ends itself; readers that stayed
    attached see the next attempt."""
    blocked = {0: {VARIABLE: "append.gathered:40:block=600"}}
    with (
        running_stack(directory, LEASE_S=LEASE_S, worker_env=blocked) as stack,
        Crowd([web.url for web in stack.webs]) as crowd,
    ):
        jobs = Jobs(stack)
        ids = [jobs.submit(f"hub {n}", tokens=60, rate=10) for n in range(10)]
        readers = [crowd.follow(job, transport) for job in ids[:3] for transport in TRANSPORTS]
        worker = stack.workers[0]
        wait_for(lambda: b"append.gathered" in worker.output.read_bytes(), "its hub stands still")
        stood = time.time()
        lost = jobs.running_on(worker, ids)
        assert lost
        assert worker.wait(HUB_STANDS_S + 15) == EXIT_STATUS
        ended_s = time.time() - stood
        jobs.wait_for_end()
        assert crowd.unfinished(15) == []
        assert jobs.violations(readers) == []
        assert set(jobs.fields(ids, "status")) == {"succeeded"}
        assert set(jobs.fields(lost, "attempt")) == {"2"}
        found = recoveries(jobs, lost, stood)
        assert max(found) <= HUB_STANDS_S + LEASE_S + 10
        assert sum(r.reconnects for r in readers if not r.transport.endswith("polling")) == 0
        assert b"alive but stuck" in worker.output.read_bytes()
        measured("worker's hub stands still", it_ended_itself_s=round(ended_s, 1), **spread(found))
