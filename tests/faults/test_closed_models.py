"""An upstream that refuses for a while, counted at the upstream, over several workers."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from tests.faults.jobs import Jobs, spread
from tests.faults.measured import measured
from tests.faults.upstreams import stack_with_many
from tests.scripted_upstream import Call, refuses, says
from tests.stack import wait_for

REFUSING_S = 20.0
JOBS = 90


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("status", [429, 503])
def test_upstream_that_refuses_for_a_while(directory: Path, status: int) -> None:
    """One probe over all workers, no slot held, another model as fast as ever; and the first answer comes within 2 s of
    the time at which the upstream answers again."""
    opens_at = time.monotonic() + 3600.0

    def refusing(call: Call) -> None:
        (refuses(status) if call.at < opens_at else says("x"))(call)

    models: dict[str, list[Any]] = {"closed": [refusing], "live": [says("y")]}
    with stack_with_many(directory, models, workers=3, concurrency=10) as (stack, upstreams):
        jobs, upstream = Jobs(stack), upstreams["closed"]
        waiting = [jobs.submit(f"closed {number}", fields={"model": "closed"}) for number in range(JOBS)]
        wait_for(lambda: upstream.calls, "the upstream is called")
        opens_at = upstream.calls[0].at + REFUSING_S
        times = []
        while time.monotonic() < opens_at:
            began = time.monotonic()
            jobs.wait_for_end([jobs.submit(f"live {len(times)}", fields={"model": "live"})])
            times.append(time.monotonic() - began)
            time.sleep(0.2)
        refused = [call for call in upstream.calls if call.at < opens_at]
        shown = stack.client().get(f"/jobs/{waiting[-1]}").json()["status"]
        jobs.wait_for_end()
        first = next(call.at for call in upstream.calls if call.at >= opens_at) - opens_at
        later = [call for call in refused if call.at - refused[0].at > 1.0]
        measured(
            f"{status} for {REFUSING_S:g} s, {JOBS} jobs, 3 workers",
            calls=len(refused), after_the_first_second=len(later), first_s=round(first, 2), **spread(times),
        )  # fmt: skip
        assert shown == "queued"
        assert len(refused) - len(later) <= 3 * 10
        assert len(later) <= 24
        assert first <= 2.0
        assert set(jobs.fields(waiting, "status")) == {"succeeded"}
        assert set(jobs.fields(waiting, "losses")) == {"0"}
        assert jobs.violations() == []
