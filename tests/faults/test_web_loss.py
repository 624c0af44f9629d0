"""A web that is killed with a thousand streams: its readers go on elsewhere as if nothing had been."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tests.faults.crowd import Crowd
from tests.faults.jobs import Jobs
from tests.faults.latency import percentile
from tests.faults.measured import measured
from tests.faults.vitals import broke, processes_of
from tests.stack import running_stack, wait_for

READERS = {"sse": 240, "ndjson": 240, "websocket": 240, "websocket_many": 240, "long_polling": 20, "short_polling": 20}
JOBS = 50


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_web_killed_with_a_thousand_streams(directory: Path) -> None:
    """SIGKILL of the web that serves 1,000 readers on all transports: each of them resumes at the other one, and has
    every entry once in the end. Bare text, which has no cursor, ends cut and never as if it were whole."""
    with running_stack(directory, webs=2, workers=1) as stack, Crowd([web.url for web in stack.webs]) as crowd:
        jobs = Jobs(stack)
        ids = [jobs.submit(f"job {number}", tokens=80, rate=2) for number in range(JOBS)]
        names = [name for name, count in READERS.items() for _ in range(count)]
        readers = [crowd.follow(ids[n % JOBS], name, web=0) for n, name in enumerate(names)]
        texts = [crowd.follow(job, "text", web=0) for job in ids]
        wait_for(lambda: all(len(one.ids) >= 5 for one in readers), "everybody reads", 60)
        stack.webs[0].kill()
        killed = time.monotonic()
        assert crowd.unfinished(120) == []
        assert jobs.violations(crowd.followings) == []
        assert broke(*stack.webs) == []
        assert not any(one.ended for one in texts)
        assert {one.turns[-1] for one in texts} == {"cut"}
        waits = [next(at for at in one.times if at > killed) - killed for one in readers]
        measured(
            "web SIGKILL with 1,000 streams",
            readers=len(readers),
            next_entry_p50_s=round(percentile(waits, 0.5), 2),
            next_entry_p99_s=round(percentile(waits, 0.99), 2),
            next_entry_max_s=round(max(waits), 2),
            lost=0,
            doubled=0,
        )
        assert percentile(waits, 0.99) < 20


@pytest.mark.slow
def test_process_of_a_web_killed(directory: Path) -> None:
    """SIGKILL of one process of a gunicorn master: its readers resume at its sibling on the same address, and the
    master starts another one."""
    with running_stack(directory, webs=1, workers=1, WEB_PROCESSES=2) as stack:
        web, jobs = stack.webs[0], Jobs(stack)
        before = processes_of(web)
        job = jobs.submit(tokens=150, rate=30)
        with Crowd([web.url]) as crowd:
            readers = [crowd.follow(job, name) for name in READERS for _ in range(5)]
            wait_for(lambda: all(len(one.ids) >= 10 for one in readers), "everybody reads")
            os.kill(before[0], signal.SIGKILL)
            assert crowd.unfinished(30) == []
            assert jobs.violations(readers) == []
        wait_for(lambda: len(processes_of(web)) == 2, "there are as many processes as before")
        assert before[1] in processes_of(web)
