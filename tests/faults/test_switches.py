"""Every switch is turned on and taken back while hundreds read: nothing is lost, and nothing comes twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.crowd import Crowd
from tests.faults.jobs import Jobs
from tests.faults.measured import measured
from tests.faults.switching import NOTICE, use_each_switch
from tests.faults.transports import TRANSPORTS
from tests.faults.vitals import broke
from tests.stack import running_stack

STREAMS, TOKENS, RATE = 200, 240, 4
RESUMING = [name for name in TRANSPORTS if name != "text"]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_each_switch_under_live_streams(directory: Path) -> None:
    """Each switch is known to all processes and taken back under 200 readers over every transport that resumes. Every
    reader gets every entry once, all jobs succeed at their first attempt, and submits are accepted again afterwards."""
    options = {"DRAIN_S": 3, "concurrency": STREAMS}
    with running_stack(directory, **options) as stack, Crowd([web.url for web in stack.webs]) as crowd:
        jobs = Jobs(stack)
        ids = jobs.submit_many(STREAMS, tokens=TOKENS, rate=RATE)
        readers = [crowd.follow(job, RESUMING[n % len(RESUMING)]) for n, job in enumerate(ids)]
        jobs.wait_for_entries(ids, 4, 60)
        switches = use_each_switch(stack, jobs)
        assert "running" in jobs.fields(ids, "status"), "the jobs are shorter than the switches"
        ids.append(jobs.submit(tokens=5, rate=50))
        jobs.wait_for_end(within_s=120)
        assert crowd.unfinished(60) == []
        assert jobs.violations(crowd.followings) == []
        assert set(jobs.fields(ids, "status")) == {"succeeded"}
        assert set(jobs.fields(ids, "losses")) == {"0"}
        shown = [one for one in readers if NOTICE in one.notices]
        assert len(shown) > STREAMS / 2
        assert broke(*stack.webs) == []
        measured(
            "each switch under live streams",
            streams=STREAMS,
            switches=switches,
            reconnects=sum(one.reconnects for one in readers),
            shown_the_notice=len(shown),
            lost=0,
            doubled=0,
        )
