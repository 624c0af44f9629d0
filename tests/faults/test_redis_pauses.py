"""Redis stands still for longer than a lease, with the owners of all jobs alive: nobody may lose a job by it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.faults.attached import attach, figures, resumed
from tests.faults.books import check_books
from tests.faults.crowd import Crowd
from tests.faults.jobs import Jobs, let_pass
from tests.faults.measured import measured
from tests.stack import running_stack, wait_for

LEASE_S = 10
JOBS = 300
READ = 10


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("pause_s", [14, 30])
def test_paused_for_longer_than_the_lease(directory: Path, pause_s: int) -> None:
    """No lease is taken over and no attempt is lost: all of 300 jobs go on where they were, and a stream that was
    attached stays so."""
    with (
        # More slots than jobs, because a batch leaves some to interactive ones.
        running_stack(directory, concurrency=JOBS, LEASE_S=LEASE_S) as stack,
        Crowd([web.url for web in stack.webs]) as crowd,
    ):
        jobs = Jobs(stack)
        # They end some seconds after the pause and the patience of one lease that follows it.
        ids = jobs.submit_many(JOBS, "pause", tokens=pause_s + 25, rate=1, first_token_s=0)
        readers = attach(crowd, ids[:READ])
        jobs.wait_for_entries(ids, 3, within_s=30)
        owners = jobs.fields(ids, "worker")
        stack.redis.pause()
        let_pass(pause_s)
        before = [len(one.ids) for one in readers]
        stack.redis.resume()
        back = time.monotonic()
        wait_for(stack.redis.is_ready, "Redis answers")
        wait_for(lambda: int(jobs.field(ids[0], "last")) > pause_s, "what was made meanwhile is there")
        late = attach(crowd, ids[READ : READ + 2])
        jobs.wait_for_end(within_s=90)
        assert crowd.unfinished(20) == []
        assert jobs.violations(crowd.followings) == []
        assert check_books(stack) == []
        assert set(jobs.fields(ids, "attempt")) == {"1"}
        assert set(jobs.fields(ids, "losses")) == {"0"}
        assert jobs.fields(ids, "worker") == owners
        assert {entry["kind"] for job in ids[:READ] for entry in jobs.log(job)} == {"started", "token", "usage", "done"}
        assert all(len(one.ids) > had for one, had in zip(readers, before, strict=True) if one.transport != "text")
        took_over = sum("were lost" in process.output.read_text() for process in [*stack.webs, *stack.workers])
        assert took_over == 0
        figure = figures(1, resumed(readers + late, back))
        measured(f"Redis paused {pause_s} s", lease_s=LEASE_S, jobs=JOBS, taken_over=0, lost=0, doubled=0, **figure)
