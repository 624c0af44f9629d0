"""Redis lets go of what it was given: flushed, keys evicted one by one, or set up so that it may evict any of them."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.faults.asking import ask, not_refused, submit
from tests.faults.attached import attach, figures, untold
from tests.faults.books import check_books, check_processes
from tests.faults.checker import PREFIX, check_stack, read_log
from tests.faults.crowd import Crowd
from tests.faults.jobs import Jobs
from tests.faults.measured import measured
from tests.stack import Stack, running_stack, wait_for

GONE = {"expects": (404, 410), "expects_gaps": True}
RECHECK_S = 5
"""How long a web may believe in a quiet log that is no longer there."""


@pytest.mark.slow
def test_flushed_while_jobs_run(directory: Path) -> None:
    """All jobs are 404 and every reader is told so; no program ends, and new jobs run at once."""
    with running_stack(directory) as stack, Crowd([web.url for web in stack.webs]) as crowd:
        jobs, times = Jobs(stack), list[float]()
        for run in range(3):
            ids = [jobs.submit(f"flushed {run}.{n}", tokens=400, rate=20) for n in range(3)]
            ids.append(jobs.submit(f"quiet {run}", tokens=3, first_token_s=60))
            jobs.wait_for_entries(ids[:3], 10)
            jobs.wait_for_status(ids[3:], "running")
            readers = attach(crowd, ids, **GONE)
            wait_for(lambda readers=readers: all(one.ids or one.text for one in readers[:21]), "all of them read")
            stack.redis.link.call("FLUSHALL")
            flushed = time.monotonic()
            jobs.accepted.clear()
            new = [jobs.submit(f"new {run}.{n}", tokens=20, rate=100) for n in range(5)]
            jobs.wait_for_end(new, within_s=10)
            ended_s = time.monotonic() - flushed
            times.append(ended_s)
            assert crowd.unfinished(RECHECK_S + 5, readers) == []
            assert untold(readers) == []
            answers = ask(stack.webs[0], [("GET", f"/jobs/{job}") for job in ids])
            assert {one.status for one in answers} == {404}
            assert jobs.violations() == []
            assert check_books(stack) == []
        assert check_processes(stack) == []
        measured("Redis flushed", **figures(3, times, "flushes"), hanging=0)


@pytest.mark.slow
@pytest.mark.parametrize("parts", [("", ":log", ":input", ":text"), ("",), (":log",), (":text",), (":input",)])
def test_keys_of_a_running_job_evicted(directory: Path, parts: tuple[str, ...]) -> None:
    """Without its record a job is 404; without its log it goes on, and readers from before get a gap or what their web
    still has. Its neighbour and the worker do not notice."""
    with running_stack(directory, workers=1) as stack, Crowd([web.url for web in stack.webs]) as crowd:
        jobs = Jobs(stack)
        victim, other = (jobs.submit(name, tokens=80, rate=20) for name in ("victim", "other"))
        readers = attach(crowd, [victim], **GONE)
        unharmed = attach(crowd, [other])
        jobs.wait_for_entries([victim, other], 20)
        stack.redis.link.call("DEL", *(f"{PREFIX}job:{victim}{part}" for part in parts))
        late = attach(crowd, [victim], after=5, **GONE)
        accepted = [job for job in jobs.accepted if job.id != victim]
        jobs.wait_for_end([other], within_s=20)
        assert crowd.unfinished(15) == []
        if "" in parts:
            assert untold(readers + late) == []
            assert [one.status for one in ask(stack.webs[0], [("GET", f"/jobs/{victim}")])] == [404]
        else:
            assert jobs.field(victim, "status") == "succeeded"
            assert [one.errors for one in readers + late if one.errors] == []
            assert all(one.ended for one in readers + late if one.transport != "text")
            log = dict(read_log(stack, victim))
            seen = {row for one in readers for row in zip(one.ids, one.raw, strict=True)}
            assert {row for row in seen if row[0] in log} <= set(log.items())
        assert check_stack(stack, accepted, unharmed, lost_records="" in parts) == []
        measured("key evicted", keys=" ".join(part or "record" for part in parts), hanging=0)


@pytest.mark.slow
def test_input_of_a_queued_job_evicted(directory: Path) -> None:
    """A job whose prompt is lost before it began cannot run: it ends ``failed``, and the worker takes others."""
    with running_stack(directory, workers=1, concurrency=1) as stack:
        jobs = Jobs(stack)
        first = jobs.submit("first", tokens=40, rate=20)
        jobs.wait_for_status([first], "running")
        victim, other = jobs.submit("victim", tokens=5), jobs.submit("other", tokens=5, rate=0)
        stack.redis.link.call("DEL", f"{PREFIX}job:{victim}:input")
        jobs.wait_for_end([first, other], within_s=20)
        jobs.wait_for_end([victim], within_s=40)
        assert jobs.field(victim, "status") == "failed"
        assert jobs.violations() == []


@pytest.mark.slow
def test_server_that_evicts_at_start(directory: Path) -> None:
    """Nothing is accepted and nothing taken while Redis may throw away what it is given; both begin by themselves when
    it is set right. A policy that spares what has not ended is only warned of."""
    with running_stack(directory, webs=1, workers=1, concurrency=1) as stack:
        jobs, worker, link = Jobs(stack), stack.workers[0], stack.redis.link
        worker.stop()
        waiting = jobs.submit("waits", tokens=5, rate=0)
        set_up(stack, "100mb", "allkeys-lru")
        worker.start()
        wait_for(lambda: "redis_unfit" in worker.output.read_text(), "the worker says why it takes nothing", 30)
        wait_for(lambda: not stack.webs[0].is_ready(), "/readyz is red")
        refused = ask(stack.webs[0], [("POST", "/jobs"), ("POST", "/batches"), ("GET", "/readyz")])
        assert not_refused(refused) == []
        assert all("allkeys-lru" in one.body for one in refused)
        assert jobs.field(waiting, "status") == "queued"
        assert [one.status for one in ask(stack.webs[0], [("GET", f"/jobs/{waiting}"), ("GET", "/livez")])] == [200] * 2
        link.call("CONFIG", "SET", "maxmemory-policy", "volatile-lru")
        mended = time.monotonic()
        jobs.wait_for_end([waiting], within_s=15)
        wait_for(stack.webs[0].is_ready, "/readyz is green")
        measured("maxmemory-policy allkeys-lru", serves_again_s=round(time.monotonic() - mended, 1))
        assert submit(stack.webs[0]).status == 202
        assert "volatile-lru may evict jobs" in worker.output.read_text()
        assert jobs.violations() == []


@pytest.mark.slow
def test_server_that_evicts_from_now_on(directory: Path) -> None:
    """Switched on later: submits are refused, by its name, and what runs may end, but nothing new is taken until it is
    off again."""
    with running_stack(directory, webs=1, workers=1, concurrency=1) as stack:
        jobs = Jobs(stack)
        running = jobs.submit("runs", tokens=100, rate=15)
        queued = [jobs.submit(f"waits {n}", tokens=5, rate=0) for n in range(3)]
        jobs.wait_for_status([running], "running")
        set_up(stack, "100mb", "allkeys-lru")
        wait_for(lambda: not stack.webs[0].is_ready(), "/readyz is red")
        refused = ask(stack.webs[0], [("POST", "/jobs"), ("POST", "/batches"), ("GET", "/readyz")])
        assert not_refused(refused) == []
        assert all("allkeys-lru" in one.body for one in refused)
        jobs.wait_for_end([running], within_s=20)
        # Two keeper's beats and two looks of an idle worker later it would have been taken.
        seen = int(stack.redis.link.call("TIME")[0])
        wait_for(lambda: int(stack.redis.link.call("TIME")[0]) > seen + 3, "some seconds pass")
        assert set(jobs.fields(queued, "status")) == {"queued"}
        set_up(stack, "0", "noeviction")
        jobs.wait_for_end(within_s=20)
        wait_for(stack.webs[0].is_ready, "/readyz is green")
        assert jobs.violations() == []


def set_up(stack: Stack, limit: str, policy: str) -> None:
    """How much memory Redis may use, and what it throws away then."""
    stack.redis.link.call("CONFIG", "SET", "maxmemory", limit)
    stack.redis.link.call("CONFIG", "SET", "maxmemory-policy", policy)
