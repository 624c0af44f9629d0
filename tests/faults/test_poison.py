"""A job that kills its worker each time, among many others: it alone ends ``failed``."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.faults.crowd import Crowd
from tests.faults.jobs import Jobs
from tests.faults.measured import measured
from tests.faults.poison import poisoned, supervised
from tests.stack import running_stack, wait_for

LEASE_S = 2
NEIGHBOURS = 200


@pytest.mark.slow
def test_poisoned_job_alone(directory: Path) -> None:
    """With nothing beside it: three attempts, three dead processes, the last of which ran nothing else."""
    with running_stack(directory, webs=1, workers=1, LEASE_S=LEASE_S, MAX_ATTEMPTS=3) as stack, supervised(stack):
        jobs = Jobs(stack)
        job = jobs.submit("poison", tokens=1000, rate=20)
        with poisoned(jobs, [job]) as kills:
            jobs.wait_for_end(within_s=60)
        assert jobs.violations() == []
        end = jobs.log(job)[-1]
        assert (end["kind"], end["error"]["code"]) == ("failed", "attempts_exhausted")
        assert len(kills) == 3
        stack.wait_ready()
        after = jobs.submit("after", tokens=3)
        jobs.wait_for_end()
        assert jobs.field(after, "status") == "succeeded"


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("count", [1, 2, 5])
def test_poisoned_jobs_among_others(directory: Path, count: int) -> None:
    """Workers full of others, which die with them, and more that wait: the poisoned ones end ``failed``, all the
    others succeed, and none of these dies with its worker more than twice."""
    with (
        running_stack(directory, concurrency=50, LEASE_S=LEASE_S, MAX_ATTEMPTS=3) as stack,
        Crowd([web.url for web in stack.webs]) as crowd,
        supervised(stack),
    ):
        jobs = Jobs(stack)
        others = [jobs.submit(f"other {n}", tokens=60, rate=15) for n in range(NEIGHBOURS // 2)]
        poison = [jobs.submit(f"poison {n}", tokens=5000, rate=15) for n in range(count)]
        others += [jobs.submit(f"later {n}", tokens=60, rate=15) for n in range(NEIGHBOURS // 2)]
        readers = [crowd.follow(job, "sse") for job in poison + others[::4]]
        began = time.monotonic()
        with poisoned(jobs, poison) as kills:
            jobs.wait_for_end(poison, within_s=120)
            poison_s = time.monotonic() - began
            jobs.wait_for_end(within_s=180)
        others_s = time.monotonic() - began
        attempts = Counter(jobs.fields(others, "attempt"))
        deaths = Counter(one or "0" for one in jobs.fields(others, "deaths"))
        measured(
            f"{count} jobs that kill their worker, among {NEIGHBOURS}",
            kills=len(kills),
            poisoned_ended_s=round(poison_s),
            others_ended_s=round(others_s),
            attempts_of_others=dict(sorted(attempts.items())),
            deaths_of_others=dict(sorted(deaths.items())),
        )
        assert crowd.unfinished(15) == []
        assert jobs.violations(readers) == []
        assert {jobs.log(job)[-1]["error"]["code"] for job in poison} == {"attempts_exhausted"}
        assert set(jobs.fields(others, "status")) == {"succeeded"}
        assert set(deaths) <= {"0", "1", "2"}
        assert len(kills) == 3 * count
        wait_for(lambda: not stack.redis.link.call("ZCARD", "spool:{0}:apart"), "nothing waits apart")


@pytest.mark.slow
def test_worker_that_dies_beside_its_suspect(directory: Path) -> None:
    """A job that lost two workers by chance goes on in a process of its own. When that one's worker is killed, the
    process hands the job back, which costs nothing, and another worker's goes on with it to the end."""
    with running_stack(directory, LEASE_S=LEASE_S, MAX_ATTEMPTS=3) as stack:
        jobs = Jobs(stack)
        job = jobs.submit("unlucky", tokens=400, rate=20)
        for attempt in (1, 2):
            jobs.wait_for_entries([job], 10 * attempt)
            worker = jobs.worker_of(job)
            worker.kill()
            worker.start()
            wait_for(lambda n=attempt + 1: jobs.field(job, "attempt") == str(n), "the next attempt", 45)  # type: ignore[misc]
        pid = jobs.worker_pid(job)
        parent = int(Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[1])
        worker = next(worker for worker in stack.workers if worker.pid == parent)
        beside = jobs.submit("beside", tokens=5)
        os.kill(parent, signal.SIGKILL)
        wait_for(lambda: jobs.field(job, "attempt") == "4", "attempt 4", 45)
        assert jobs.worker_pid(job) != pid
        jobs.wait_for_end()
        assert jobs.violations() == []
        assert jobs.fields([job, beside], "status") == ["succeeded", "succeeded"]
        assert (jobs.field(job, "losses"), jobs.field(job, "deaths")) == ("2", "2")
        assert not worker.running
