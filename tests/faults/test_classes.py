"""The two classes under a real worker: neither starves the other, whichever fills the queue."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.jobs import Jobs
from tests.faults.measured import measured
from tests.stack import running_stack

SLOTS = 5
BATCH_EVERY = 20
MANY, FEW = 150, 6
FAST = {"tokens": 3, "rate": 20, "first_token_s": 0}


def submit(jobs: Jobs, count: int, priority: str) -> list[str]:
    """So many jobs of a class."""
    return [jobs.submit(f"{priority} {n}", fields={"priority": priority}, **FAST) for n in range(count)]


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("many", ["interactive", "batch"])
def test_class_that_fills_the_queue(directory: Path, many: str) -> None:
    """While interactive jobs fill the queue and every slot, one claim in twenty is a batch job's; behind batch jobs,
    interactive ones begin at once."""
    with running_stack(directory, webs=1, workers=1, concurrency=SLOTS) as stack:
        jobs, worker = Jobs(stack), stack.workers[0]
        worker.pause()
        crowd = submit(jobs, MANY, many)
        others = submit(jobs, FEW, "batch" if many == "interactive" else "interactive")
        worker.resume()
        jobs.wait_for_end(within_s=120)
        order = sorted([*crowd, *others], key=lambda job: jobs.attempts(job)[0])
        places = sorted(order.index(job) for job in others)
        measured(f"{FEW} jobs behind {MANY} {many} jobs on {SLOTS} slots", places=places)
        assert jobs.violations() == []
        # Claims of one millisecond have no order here.
        for number, place in enumerate(places, 1):
            due = number * BATCH_EVERY if many == "interactive" else number
            assert place <= due + 2 * SLOTS
