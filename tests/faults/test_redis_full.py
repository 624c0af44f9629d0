"""Redis without memory, without its scripts, with something else in a log's place: what can go on does."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from spool.errors import StoreFull
from tests.faults.asking import ask, not_refused, submit
from tests.faults.attached import attach, figures, resumed
from tests.faults.books import check_books, check_processes, job_ids
from tests.faults.checker import PREFIX, check_stack
from tests.faults.crowd import Crowd
from tests.faults.jobs import Jobs
from tests.faults.measured import measured
from tests.faults.repeating import again_and_again
from tests.stack import running_stack, wait_for

SUBMITS = [("POST", "/jobs"), ("POST", "/batches")]
LEASE_S = 2
BALLAST = 64 * 1024 * 1024


@pytest.mark.slow
@pytest.mark.parametrize("part", [0.93, None], ids=["watermark", "out of memory"])
def test_full(directory: Path, part: float | None) -> None:
    """Submits are refused at the watermark already, while Redis has room, and jobs that wait run. Where it has none,
    jobs that run end, those that wait do so until there is room; all can be cancelled and deleted, and leave nothing
    half-written."""
    with (
        running_stack(directory, workers=1, concurrency=3, LEASE_S=LEASE_S) as stack,
        Crowd([web.url for web in stack.webs]) as crowd,
    ):
        jobs, link, web = Jobs(stack), stack.redis.link, stack.webs[0]
        ended = jobs.submit("ended", tokens=1, rate=0)
        jobs.wait_for_end([ended])
        ids = [jobs.submit(f"runs {n}", tokens=60, rate=15) for n in range(3)]
        # Their bells wait at the broker, which has no room either when it is to hand them out.
        ids += [jobs.submit(f"waits {n}", tokens=20, rate=50) for n in range(12)]
        cancelled = jobs.submit("cancelled", tokens=20)
        readers = attach(crowd, ids[:4])
        jobs.wait_for_entries(ids[:3], 10)
        # So much that what connections need, which comes and goes, counts for little beside it.
        link.call("SETRANGE", "ballast", BALLAST, "x")
        used = int(stack.redis.info("memory")["used_memory"])
        link.call("CONFIG", "SET", "maxmemory", round(used / part) if part else 1)
        filled = time.monotonic()
        wait_for(lambda: submit(web).status == 503, "submits are refused", 10)
        refused_s = time.monotonic() - filled
        if part:
            link.call("SET", "room", "is left")
        else:
            with pytest.raises(StoreFull):
                link.call("SET", "room", "is not left")
        refused = ask(web, SUBMITS, times=3)
        known = job_ids(stack)
        assert jobs.cancel(cancelled) == 200
        assert [one.status for one in ask(web, [("DELETE", f"/jobs/{ended}")])] == [204]
        jobs.wait_for_end([*(ids if part else ids[:3]), cancelled], within_s=40)
        assert job_ids(stack) == known - {ended}
        if not part:
            assert set(jobs.fields(ids[3:], "status")) == {"queued"}
        link.call("CONFIG", "SET", "maxmemory", 0)
        back = time.monotonic()
        wait_for(lambda: submit(web).status == 202, "submits are accepted", 10)
        accepts_s = time.monotonic() - back
        jobs.wait_for_end(ids, within_s=40)
        assert crowd.unfinished(10) == []
        assert not_refused(refused) == []
        assert {json.loads(one.body)["title"] for one in refused} == {"Store full"}
        assert {int(one.headers["retry-after"]) for one in refused} == {10}
        jobs.accepted = [job for job in jobs.accepted if job.id != ended]
        assert jobs.violations(readers) == []
        assert set(jobs.fields(ids, "attempt")) == {"1"}
        assert check_processes(stack) == []
        measured(
            f"Redis full: {'used 93 % of maxmemory' if part else 'OOM'}",
            refuses_after_s=round(refused_s, 2),
            accepts_again_s=round(accepts_s, 2),
            jobs_ended_meanwhile=len(ids),
            lost=0,
            doubled=0,
        )


@pytest.mark.slow
@pytest.mark.parametrize("memory", [0, 1], ids=["", "out of memory"])
def test_log_of_the_wrong_type(directory: Path, memory: int) -> None:
    """Something that is no log in a log's place fails that job's attempt alone: its next one puts a log there again.
    Others do not notice, also when there is no memory."""
    with running_stack(directory, LEASE_S=LEASE_S) as stack, Crowd([web.url for web in stack.webs]) as crowd:
        jobs, link = Jobs(stack), stack.redis.link
        victim = jobs.submit("victim", tokens=80, rate=20)
        others = [jobs.submit(f"other {n}", tokens=80, rate=20) for n in range(4)]
        readers = attach(crowd, [victim], expects_gaps=True)
        unharmed = attach(crowd, others)
        jobs.wait_for_entries([victim, *others], 20)
        link.pipeline([("DEL", f"{PREFIX}job:{victim}:log"), ("SET", f"{PREFIX}job:{victim}:log", "no log")])
        link.call("CONFIG", "SET", "maxmemory", memory)
        jobs.wait_for_end(others, within_s=15)
        jobs.wait_for_end([victim], within_s=LEASE_S + 20)
        link.call("CONFIG", "SET", "maxmemory", 0)
        assert crowd.unfinished(15) == []
        assert jobs.field(victim, "status") == "succeeded"
        assert jobs.field(victim, "attempt") == "2"
        assert [one.errors for one in readers if one.errors] == []
        assert all(one.ended and one.ids == sorted(set(one.ids)) for one in readers if one.transport != "text")
        accepted = [job for job in jobs.accepted if job.id != victim]
        assert set(jobs.fields(others, "attempt")) == {"1"}
        assert check_stack(stack, accepted, unharmed) == []
        assert check_books(stack) == []
        measured("a log of the wrong type", memory="none" if memory else "enough", failed_beside_it=0)


@pytest.mark.slow
def test_scripts_flushed_again_and_again(directory: Path) -> None:
    """Scripts that are forgotten under load are loaded again by whoever misses them: nobody sees anything."""
    with running_stack(directory, LEASE_S=LEASE_S) as stack, Crowd([web.url for web in stack.webs]) as crowd:
        jobs = Jobs(stack)
        with again_and_again(stack, lambda link: link.call("SCRIPT", "FLUSH"), every_s=0.05) as times:
            began = time.monotonic()
            ids = [jobs.submit(f"flushed {n}", tokens=100, rate=50) for n in range(30)]
            readers = attach(crowd, ids[:3])
            jobs.wait_for_end(within_s=40)
        assert crowd.unfinished(10) == []
        assert jobs.violations(readers) == []
        assert set(jobs.fields(ids, "attempt")) == {"1"}
        assert check_books(stack) == []
        assert times[0] > 20
        measured(
            "SCRIPT FLUSH", flushes=times[0], jobs=len(ids), lost=0, doubled=0, **figures(1, resumed(readers, began))
        )
