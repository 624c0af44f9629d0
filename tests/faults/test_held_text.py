"""Text that a worker holds back for a larger entry, when the worker is stopped or killed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.jobs import Jobs
from tests.stack import running_stack

HELD_LONG = {"ms": 10_000, "chars": 8192}
SLOW = {"tokens": 12, "rate": 4, "first_token_s": 0, "reasoning": 1}
"""The reasoning is written when the first token comes, which is then held: so a test sees that it is."""


@pytest.mark.slow
def test_worker_that_holds_text_ends(directory: Path) -> None:
    """A worker that is stopped writes the text that it holds and hands the job back, and the next worker continues from
    it; text held by a killed worker is generated again, and the answer is complete in both cases."""
    with running_stack(directory, webs=1, workers=1, WORKER_DRAIN_S=0) as stack:
        jobs, worker = Jobs(stack), stack.workers[0]
        for ends, left, goes_on in ((worker.stop, ["token"], "continued"), (worker.kill, [], "restarted")):
            job = jobs.submit(fields={"coalesce": HELD_LONG}, **SLOW)
            jobs.wait_for_entries([job], 2)
            ends()
            assert jobs.kinds(job) == ["started", "reasoning", *left]
            worker.start()
            jobs.wait_for_end()
            assert jobs.violations() == []
            assert goes_on in jobs.kinds(job)
