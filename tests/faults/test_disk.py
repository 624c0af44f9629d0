"""Redis's disk full: its append-only file cannot grow, so it refuses every write until there is room again."""

from __future__ import annotations

import time
from pathlib import Path

import httpx
import pytest

from tests.faults.crowd import Crowd
from tests.faults.disk import full_disk, needs_prlimit
from tests.faults.jobs import Jobs, let_pass
from tests.faults.measured import measured
from tests.faults.transports import TRANSPORTS
from tests.loopback import NO_CERTIFICATES
from tests.stack import running_stack, wait_for

LEASE_S = 2
AWAY_S = 8

pytestmark = needs_prlimit


def submit(web: str) -> httpx.Response:
    """The answer to a submit."""
    return httpx.post(
        f"{web}/jobs", json={"prompt": "full", "params": {"tokens": 5}}, timeout=30, verify=NO_CERTIFICATES
    )


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_disk_of_redis_is_full(directory: Path) -> None:
    """Submits get 503 with Retry-After, /readyz is red, /livez green; running jobs wait with what they have, longer
    than their leases; once there is room, they go on where they were, with the attempt they had, and readers have not
    missed an entry."""
    with (
        running_stack(directory, aof=True, LEASE_S=LEASE_S) as stack,
        Crowd([web.url for web in stack.webs]) as crowd,
    ):
        stack.redis.argv = ["sh", "-c", 'trap "" XFSZ; exec "$@"', "sh", *stack.redis.argv]
        stack.redis.restart()
        jobs = Jobs(stack)
        wait_for(lambda: submit(stack.webs[0].url).status_code == 202, "submits are taken")
        ids = [jobs.submit(f"disk {n}", tokens=300, rate=20) for n in range(6)]
        readers = [crowd.follow(job, transport) for job in ids for transport in TRANSPORTS]
        jobs.wait_for_entries(ids, 20)
        with full_disk(stack):
            wait_for(lambda: submit(stack.webs[0].url).status_code != 202, "a submit is refused")
            full = time.monotonic()
            statuses = set()
            while time.monotonic() - full < AWAY_S:
                answers = [submit(web.url) for web in stack.webs]
                statuses |= {answer.status_code for answer in answers}
                for answer in answers:
                    assert answer.status_code == 503, answer.text
                    assert answer.headers["retry-after"].isdigit()
                let_pass(0.2)
            assert httpx.get(f"{stack.webs[0].url}/livez", timeout=5, verify=NO_CERTIFICATES).status_code == 200
            assert httpx.get(f"{stack.webs[0].url}/readyz", timeout=10, verify=NO_CERTIFICATES).status_code == 503
            assert httpx.get(f"{stack.webs[0].url}/jobs/{ids[0]}", timeout=5, verify=NO_CERTIFICATES).status_code == 200
        room = time.monotonic()
        wait_for(lambda: submit(stack.webs[0].url).status_code == 202, "submits are taken again", 30)
        taken_s = time.monotonic() - room
        last = max(int(one) for one in jobs.fields(ids, "last"))
        jobs.wait_for_entries(ids, last + 1)
        went_on_s = time.monotonic() - room
        jobs.wait_for_end()
        assert crowd.unfinished(15) == []
        assert jobs.violations(readers) == []
        assert set(jobs.fields(ids, "attempt")) == {"1"}
        assert set(jobs.fields(ids, "status")) == {"succeeded"}
        assert all(worker.running for worker in stack.workers)
        measured(
            "Redis's disk full",
            for_s=AWAY_S,
            submits=sorted(statuses),
            submits_taken_again_s=round(taken_s, 1),
            jobs_went_on_s=round(went_on_s, 1),
            attempts_lost=sum(map(int, jobs.fields(ids, "losses"))),
        )
        stack.redis.restart()
        wait_for(stack.webs[0].is_ready, "the web is ready again", 30)
        assert jobs.violations() == []
