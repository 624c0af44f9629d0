"""Cancels at every moment, from everywhere: each log ends with one terminal entry, and no upstream call stays open."""

from __future__ import annotations

import random
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from tests.faults.crowd import Crowd
from tests.faults.jobs import ENDED, Jobs, spread
from tests.faults.measured import measured
from tests.faults.transports import TRANSPORTS
from tests.faults.upstreams import MODEL, silent, stack_with, stalls
from tests.readers import read_sse
from tests.scripted_upstream import Call
from tests.stack import running_stack, wait_for

CLOSED_WITHIN_S = 1.0


@pytest.mark.slow
def test_cancel_closes_the_upstream_connection(directory: Path) -> None:
    """Within a second of a cancel the upstream sees its client go, before an answer's head and its first byte, in the
    middle of an answer that is silent, and of one that is not."""

    def begins(call: Call) -> None:
        call.begin()
        call.hold(60)

    def talks(call: Call) -> None:
        call.begin()
        while True:
            call.text("talk ")
            call.hold(0.02)

    found = []
    with stack_with(directory, silent, begins, stalls, talks) as (stack, upstream):
        jobs = Jobs(stack)
        for number, entries in enumerate((1, 1, 2, 10), 1):
            job = jobs.submit(fields=MODEL)
            call = upstream.wait_for_call(number)
            jobs.wait_for_entries([job], entries)
            asked = time.monotonic()
            assert jobs.cancel(job, web=number % 2) == 200
            wait_for(lambda call=call: call.gone_at, "the upstream sees it", 5)  # type: ignore[misc]
            found.append((call.gone_at or 0) - asked)
            assert read_sse(stack.webs[0].url, job).entries[-1]["kind"] == "cancelled"
        assert jobs.violations() == []
        assert max(found) < CLOSED_WITHIN_S
        measured("cancel during the answer: upstream closed", **spread(found))


@pytest.mark.slow
def test_cancel_before_the_claim(directory: Path) -> None:
    """A job that waits ends at once, and never reaches its upstream."""
    with stack_with(directory, stalls, limits={"max_running": 1}) as (stack, upstream):
        jobs = Jobs(stack)
        first = jobs.submit(fields=MODEL)
        jobs.wait_for_entries([first], 2)
        with Crowd([web.url for web in stack.webs]) as crowd:
            waits = jobs.submit(fields=MODEL)
            readers = [crowd.follow(waits, transport) for transport in TRANSPORTS if transport != "text"]
            asked = time.monotonic()
            jobs.cancel(waits)
            assert jobs.field(waits, "status") == "cancelled"
            assert crowd.unfinished(10) == []
            ended_s = max(reader.times[-1] for reader in readers) - asked
            jobs.cancel(first)
            jobs.wait_for_end()
            assert [entry["kind"] for entry in jobs.log(waits)] == ["cancelled"]
            assert jobs.violations(readers) == []
        assert len(upstream.calls) == 1
        measured("cancel before the claim", all_readers_saw_the_end_s=round(ended_s, 2))


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_cancel_at_any_moment(directory: Path) -> None:
    """Several hundred jobs, each cancelled at a moment of chance: before the claim, during, or at the very end; once or
    twice, from one instance, or from two at the same time, with readers on it. Whatever came first is the one end."""
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    # 20 tokens at 100 a second: the answer takes 0.2 s, so that as many cancels come after its end as before.
    length_s = 0.2
    with (
        running_stack(directory, concurrency=10) as stack,
        Crowd([web.url for web in stack.webs]) as crowd,
        ThreadPoolExecutor(8) as pool,
    ):
        jobs = Jobs(stack)
        for number in range(400):
            job = jobs.submit(f"chance {number}", tokens=20, rate=100, first_token_s=0)
            crowd.follow(job, chance.choice(["sse", "ndjson", "websocket", "long_polling"]))
            at = time.monotonic() + chance.choice([0, chance.uniform(0, length_s), chance.gauss(length_s, 0.01)])
            wait_for(lambda at=at: time.monotonic() >= at, "the moment of chance")  # type: ignore[misc]
            webs = chance.choice([[0], [1], [0, 0], [0, 1]])
            assert set(pool.map(partial(jobs.cancel, job), webs)) == {200}
        jobs.wait_for_end()
        assert crowd.unfinished(15) == []
        assert jobs.violations(crowd.followings) == []
        ends = Counter(jobs.fields([job.id for job in jobs.accepted], "status"))
        assert set(ends) <= ENDED - {"failed"}
        assert min(ends["succeeded"], ends["cancelled"]) > 20
        measured("cancel at a moment of chance", jobs=400, **ends, violations=0)


@pytest.mark.slow
def test_cancel_after_the_worker_is_gone(directory: Path) -> None:
    """A running job whose worker was killed ends cancelled, and not with another attempt; a queued one at once."""
    with running_stack(directory, workers=1, LEASE_S=2) as stack:
        jobs = Jobs(stack)
        job = jobs.submit(tokens=500, rate=20)
        jobs.wait_for_entries([job], 5)
        stack.workers[0].kill()
        asked = time.monotonic()
        jobs.cancel(job)
        jobs.wait_for_end()
        ended_s = time.monotonic() - asked
        assert jobs.field(job, "status") == "cancelled"
        assert jobs.field(job, "attempt") == "1"
        assert jobs.violations() == []
        measured("cancel of a job whose worker was killed", lease_s=2, ended_s=round(ended_s, 1))
