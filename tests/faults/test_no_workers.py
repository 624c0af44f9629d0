"""Every worker gone: jobs wait, for as long as they may, and the webs alone see to it that each of them ends."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.faults.crowd import Crowd
from tests.faults.jobs import Jobs, let_pass, spread
from tests.faults.measured import measured
from tests.faults.transports import TRANSPORTS
from tests.stack import running_stack

LEASE_S = 2


@pytest.mark.slow
def test_no_worker_comes_back(directory: Path) -> None:
    """With every worker gone for good, the webs alone see that each log ends ``failed`` at its deadline: a job that
    ran, one that waited, and one that came later. The readers hear it."""
    fields = {"timeout_s": 6}
    with (
        running_stack(directory, workers=1, LEASE_S=LEASE_S) as stack,
        Crowd([web.url for web in stack.webs]) as crowd,
    ):
        jobs = Jobs(stack)
        ran = jobs.submit(tokens=2000, rate=20, fields=fields)
        jobs.wait_for_entries([ran], 5)
        stack.workers[0].kill()
        ids = [ran, *(jobs.submit(f"late {n}", fields=fields) for n in range(3))]
        readers = [crowd.follow(job, transport) for job in ids for transport in TRANSPORTS]
        jobs.wait_for_end()
        assert crowd.unfinished(10) == []
        assert [str(one) for one in readers if one.transport != "text" and not one.ended] == []
        late = []
        for job in ids:
            end = jobs.log(job)[-1]
            assert (end["kind"], end["error"]["code"]) == ("failed", "deadline_exceeded")
            late.append((float(jobs.field(job, "ended_ms")) - float(jobs.field(job, "deadline_ms"))) / 1000)
        assert max(late) < 5
        assert jobs.violations(one for one in readers if one.transport != "text") == []
        measured("every worker gone past the deadlines", after_the_deadline="", **spread(late))


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("away_s", [20, 300])
def test_every_worker_gone_for_long(directory: Path, away_s: int) -> None:
    """Jobs that ran go on from where they were, and jobs that were submitted meanwhile run, once there is a worker;
    what has a deadline within that time ends ``failed`` at it."""
    with (
        running_stack(directory, LEASE_S=LEASE_S) as stack,
        Crowd([web.url for web in stack.webs]) as crowd,
    ):
        jobs = Jobs(stack)
        ran = [jobs.submit(f"ran {n}", tokens=200, rate=20) for n in range(10)]
        jobs.wait_for_entries(ran, 5)
        for worker in stack.workers:
            worker.kill()
        gone = time.time()
        waited = [jobs.submit(f"waited {n}", tokens=20, rate=20) for n in range(20)]
        hurried = [jobs.submit(f"hurried {n}", fields={"timeout_s": away_s / 2}) for n in range(5)]
        readers = [crowd.follow(job, t, within_s=away_s + 90) for job in ran + waited for t in ("sse", "long_polling")]
        let_pass(away_s)
        assert set(jobs.fields(ran + waited, "status")) == {"queued"}
        assert set(jobs.fields(hurried, "status")) == {"failed"}
        back = time.time()
        for worker in stack.workers:
            worker.start()
        jobs.wait_for_end()
        assert crowd.unfinished(10) == []
        assert jobs.violations(readers) == []
        assert set(jobs.fields(ran + waited, "status")) == {"succeeded"}
        assert set(jobs.fields(ran, "losses")) == {"1"}
        assert sum(reader.reconnects for reader in readers if reader.transport == "sse") == 0
        found = [jobs.attempts(job)[-1] - back for job in ran + waited]
        measured("every worker gone", for_s=round(back - gone), begun_after_their_return="", **spread(found))
