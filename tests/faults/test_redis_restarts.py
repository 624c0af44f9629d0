"""Redis goes away and comes back with all that it had: stopped in order, or killed (what it wrote is in its file)."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.faults.asking import BODY, PUBLIC, ask, not_refused, reads, slower_than, submit, writes
from tests.faults.attached import attach, figures, resumed
from tests.faults.books import check_books, check_processes, job_ids
from tests.faults.checker import Accepted
from tests.faults.crowd import Crowd
from tests.faults.jobs import Jobs, let_pass
from tests.faults.measured import measured
from tests.stack import Stack, running_stack, wait_for

LEASE_S = 2
STREAMS = ("sse", "ndjson", "text", "websocket", "websocket_many")


def restart_under_load(stack: Stack, crowd: Crowd, jobs: Jobs, *, kill: bool, away_s: float) -> list[float]:
    """One restart in the middle of jobs with readers on all transports; when each of these went on."""
    ids = [jobs.submit(f"restart {len(jobs.accepted)}", tokens=round((3 + away_s) * 25), rate=25) for _ in range(3)]
    readers = attach(crowd, ids)
    jobs.wait_for_entries(ids, 20)
    wait_for(lambda: all(one.ids or one.text for one in readers if one.transport in STREAMS), "every stream has begun")
    web, known = stack.webs[0], job_ids(stack)
    stack.redis.kill() if kill else stack.redis.stop()
    refused = ask(web, [*reads(ids[0]), *writes(ids[0]), ("GET", "/readyz")], times=2)
    public = ask(web, [("GET", path) for path in PUBLIC])
    let_pass(away_s)
    stack.redis.start()
    wait_for(stack.redis.is_ready, "Redis answers again")
    back = time.monotonic()
    assert job_ids(stack) == known, "what was refused is there"
    again = wait_for(lambda: next((one for one in [submit(web)] if one.status == 202), None), "a submit is accepted", 5)
    jobs.accepted.append(Accepted(again.headers["location"].removeprefix("/jobs/"), BODY["prompt"], BODY["params"]))
    assert not_refused(refused) == []
    # The API's description takes a second of CPU, and its request yields all the time.
    assert slower_than(refused, 5) == slower_than(public, 20) == []
    assert {one.status for one in public} == {200}
    jobs.wait_for_end(within_s=40)
    assert crowd.unfinished(15) == []
    # No connection broke: the web waits for Redis, and its readers with it. A reader that was behind, and had to read
    # from Redis, is told that it cannot.
    streams = [one for one in readers if one.transport in STREAMS]
    assert [str(one) for one in streams if not set(one.turns) <= {"unavailable", "ended"}] == []
    return resumed(readers, back)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("kill", [False, True], ids=["SIGTERM", "SIGKILL"])
def test_restarted_under_load(directory: Path, kill: bool) -> None:
    """Meanwhile submits get 503 with Retry-After and leave nothing; then streams go on by themselves where they were,
    also when Redis was away for longer than a lease, and no job loses its attempt."""
    with (
        running_stack(directory, aof=True, LEASE_S=LEASE_S) as stack,
        Crowd([web.url for web in stack.webs]) as crowd,
    ):
        jobs, found = Jobs(stack), list[float]()
        for away_s in (0.0, 0.5, 2.0, 2 * LEASE_S + 2.0):
            found += restart_under_load(stack, crowd, jobs, kill=kill, away_s=away_s)
        assert jobs.violations(crowd.followings) == []
        assert set(jobs.fields([job.id for job in jobs.accepted], "attempt")) == {"1"}
        assert check_books(stack) == []
        assert check_processes(stack) == []
        assert max(found) < 5
        measured(
            "Redis restarted, AOF on", signal="SIGKILL" if kill else "SIGTERM", lost=0, doubled=0, **figures(4, found)
        )


def test_restarted_once(directory: Path) -> None:
    """The same in short."""
    with (
        running_stack(directory, webs=1, workers=1, aof=True, LEASE_S=LEASE_S) as stack,
        Crowd([web.url for web in stack.webs]) as crowd,
    ):
        jobs = Jobs(stack)
        restart_under_load(stack, crowd, jobs, kill=True, away_s=0)
        assert jobs.violations(crowd.followings) == []
