"""Redis is killed and comes back without its last moments, as after a crash of its host: its file is cut.

A kill alone loses nothing, for what Redis has written is in the page cache. Where it is cut is random, from a seed.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.aof import Aof
from tests.faults.attached import attach, figures, resumed, seen, untold
from tests.faults.checker import JUMP, PREFIX, Accepted, check_stack
from tests.faults.crowd import Crowd
from tests.faults.following import Following
from tests.faults.jobs import Jobs
from tests.faults.measured import measured
from tests.stack import Stack, running_stack, wait_for

ROW = "Redis SIGKILL and its AOF cut back"
LEASE_S = 4
RUNS = 5
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@dataclass
class Scene:
    """A stack whose Redis can be set back, with readers."""

    stack: Stack
    crowd: Crowd
    jobs: Jobs
    aof: Aof

    def set_back(self, size: int) -> int:
        """Kill Redis, leave ``size`` bytes of its file, start it again; how many bytes it lost."""
        if self.stack.redis.running:
            self.stack.redis.kill()
        lost = self.aof.cut(size)
        self.stack.redis.start()
        wait_for(self.stack.redis.is_ready, "Redis answers again")
        return lost

    def begins(self, job: str, *words: str) -> int:
        """Where in the file the first step is that touches this job with these words."""
        found = [step.at for step in self.aof.steps() if step.says(f"{PREFIX}job:{job}", *words)]
        assert found, f"no step of {job} with {words}"
        return found[0]

    def has_steps_between(self, first: int, second: int) -> bool:
        """Whether there is a step between those that begin at these two places in the file."""
        return any(first < step.at < second for step in self.aof.steps())

    def start_workers(self) -> float:
        """Start those that were killed, and wait until they take jobs; how many seconds that took."""
        workers = self.stack.workers
        before, began = [worker.output.read_text().count("runs up to") for worker in workers], time.monotonic()
        for worker in workers:
            worker.start()
        for worker, times in zip(workers, before, strict=True):
            wait_for(lambda w=worker, n=times: w.output.read_text().count("runs up to") > n, f"{worker.name} runs", 40)
        return time.monotonic() - began

    def end(self, within_s: float = 40) -> None:
        """Everything has ended, and nobody reads any more."""
        self.jobs.wait_for_end(within_s=within_s)
        assert self.crowd.unfinished(20) == []


@pytest.fixture
def scene(directory: Path) -> Iterator[Scene]:
    """Two webs, two workers and a Redis with its file."""
    with (
        running_stack(directory, aof=True, LEASE_S=LEASE_S) as stack,
        Crowd([web.url for web in stack.webs]) as crowd,
    ):
        yield Scene(stack, crowd, Jobs(stack), Aof(stack))


@pytest.mark.parametrize("rate", [40, 200])
def test_tail_lost_while_its_worker_runs(scene: Scene, rate: int) -> None:
    """The worker sends again what was lost, same ids and same bytes. Readers ahead of the log wait, and so do those who
    attach while it is short, from the beginning or from an entry that Redis does not have."""
    chance, found, lost = random.Random(rate), list[float](), list[int]()
    for run in range(RUNS):
        ids = [scene.jobs.submit(f"tail {run}.{n}", tokens=5 * rate, rate=rate) for n in range(2)]
        readers = attach(scene.crowd, ids)
        scene.jobs.wait_for_entries(ids, rate)
        before = scene.aof.size
        scene.jobs.wait_for_entries(ids, 2 * rate)
        # Stopped, so that Redis stays behind until those who attach now have seen it so.
        for worker in scene.stack.workers:
            worker.pause()
        lost.append(scene.set_back(chance.randint(before, scene.aof.size)))
        late = [one for job in ids for after in (0, seen(readers, job)) for one in attach(scene.crowd, [job], after)]
        has = {job: int(scene.jobs.field(job, "last")) for job in ids}
        wait_for(lambda late=late, has=has: all(has_what_there_is(one, has) for one in late), "late ones wait")
        back = time.monotonic()
        for worker in scene.stack.workers:
            worker.resume()
        scene.end()
        found += resumed(readers + late, back)
    assert scene.jobs.violations(scene.crowd.followings) == []
    assert set(scene.jobs.fields([job.id for job in scene.jobs.accepted], "attempt")) == {"1"}
    assert max(found) < LEASE_S + 5
    measured(
        ROW, fault=f"worker alive, {rate} tokens/s", bytes_lost=max(lost), lost=0, doubled=0, **figures(RUNS, found)
    )


def has_what_there_is(following: Following, has: dict[str, int]) -> bool:
    """Whether this reader has all that Redis has. Of bare text nobody knows."""
    return following.transport == "text" or following.cursor >= has[following.job]


def test_claim_lost_while_its_worker_runs(scene: Scene) -> None:
    """A job whose claim was lost is adopted by the worker that runs it: the same attempt, the same entries."""
    chance, found = random.Random(2), list[float]()
    for run in range(RUNS):
        job = scene.jobs.submit(f"claim {run}", tokens=150, rate=60)
        readers = attach(scene.crowd, [job])
        scene.jobs.wait_for_entries([job], chance.randint(2, 50))
        scene.stack.redis.kill()
        accepted, claimed = scene.begins(job, "queued"), scene.begins(job, "running")
        assert accepted < claimed
        # A cut into the step before the claim must not be one into the submit, which would lose the whole job.
        cut = chance.choice([0, 0, 1]) if scene.has_steps_between(accepted, claimed) else 0
        scene.set_back(claimed - cut)
        back = time.monotonic()
        scene.end()
        found += resumed(readers, back)
        assert scene.jobs.log(job)[0]["kind"] == "started"
    assert scene.jobs.violations(scene.crowd.followings) == []
    assert set(scene.jobs.fields([job.id for job in scene.jobs.accepted], "attempt")) == {"1"}
    assert max(found) < LEASE_S + 5
    measured(ROW, fault="claim lost, worker alive", lost=0, doubled=0, **figures(RUNS, found))


def test_claim_lost_and_taken_by_another(scene: Scene) -> None:
    """If the worker that had it does not say so in time, another one begins, behind an announced jump; the first one
    is refused. No reader sees the two spliced."""
    found = []
    for run in range(RUNS):
        job = scene.jobs.submit(f"zombie {run}", tokens=120, rate=60)
        readers = attach(scene.crowd, [job])
        scene.jobs.wait_for_entries([job], 20)
        worker = scene.jobs.worker_of(job)
        worker.pause()
        scene.stack.redis.kill()
        scene.set_back(scene.begins(job, "running"))
        back = time.monotonic()
        wait_for(lambda job=job: scene.jobs.field(job, "status") == "running", "another worker began")
        worker.resume()
        scene.end()
        found += resumed(readers, back)
        assert jumps(scene, job) == [("restarted", "redis_lost_history")]
    assert check_stack(scene.stack, scene.jobs.accepted, scene.crowd.followings, lost_history=True) == []
    measured(ROW, fault="claim lost, its worker stopped", lost="announced", doubled=0, **figures(RUNS, found))


def test_end_lost_while_its_worker_lives(scene: Scene) -> None:
    """An end that was lost just after it was confirmed is sent again, with what was lost before it."""
    chance, found = random.Random(3), list[float]()
    for run in range(RUNS):
        ids = [scene.jobs.submit(f"end {run}.{n}", tokens=80, rate=80) for n in range(3)]
        attach(scene.crowd, ids)
        scene.jobs.wait_for_entries(ids, 40)
        before = scene.aof.size
        scene.jobs.wait_for_end()
        scene.stack.redis.kill()
        first_end = min(scene.begins(job, "succeeded") for job in ids)
        # A busy machine may see the first end before its entries.
        scene.set_back(chance.randint(min(before, first_end), first_end))
        back = time.monotonic()
        late = attach(scene.crowd, ids)
        scene.end()
        found += [one.times[-1] - back for one in late if one.transport != "text"]
    assert scene.jobs.violations(scene.crowd.followings) == []
    assert set(scene.jobs.fields([job.id for job in scene.jobs.accepted], "attempt")) == {"1"}
    measured(ROW, fault="end lost, worker alive", lost=0, doubled=0, **figures(RUNS, found))


def test_tail_lost_with_its_worker(scene: Scene) -> None:
    """If the workers died too, the next attempt begins with ``restarted``, far ahead of whatever readers saw."""
    chance, found, started = random.Random(4), list[float](), list[float]()
    for run in range(RUNS):
        ids = [scene.jobs.submit(f"both {run}.{n}", tokens=150, rate=50) for n in range(3)]
        readers = attach(scene.crowd, ids)
        scene.jobs.wait_for_entries(ids, 20)
        before = scene.aof.size
        scene.jobs.wait_for_entries(ids, 60)
        for worker in scene.stack.workers:
            worker.kill()
        # In every other run the claim of one of them is lost as well.
        claimed = scene.begins(ids[-1], "running")
        scene.set_back(chance.randint(before, scene.aof.size) if run % 2 else claimed)
        back = time.monotonic()
        started.append(scene.start_workers())
        scene.end()
        found += resumed(readers, back)
        assert max(resumed(readers, back)) < started[-1] + LEASE_S + 5
        for job in ids:
            assert jumps(scene, job) == [("restarted", "redis_lost_history")]
    assert check_stack(scene.stack, scene.jobs.accepted, scene.crowd.followings, lost_history=True) == []
    start_s = round(max(started), 2)
    measured(ROW, fault="workers dead too", start_s=start_s, lost="announced", doubled=0, **figures(RUNS, found))


def jumps(scene: Scene, job: str) -> list[tuple[str, str]]:
    """Kind and reason of the entries at which the job's ids jump."""
    return [(entry["kind"], entry["reason"]) for entry in scene.jobs.log(job) if entry["id"] % JUMP == 0]


@pytest.mark.parametrize("alive", [True, False])
def test_submit_lost(scene: Scene, alive: bool) -> None:
    """A job that Redis has lost is 404, its readers are told that nothing more comes, and the same submit again makes
    it anew. The worker that ran it goes on with others."""
    web = scene.stack.client()
    for run in range(RUNS):
        keeps = scene.jobs.submit(f"kept {run}", tokens=100, rate=50)
        scene.jobs.wait_for_entries([keeps], 10)
        body = {"prompt": f"lost {run}", "params": {"tokens": 100, "rate": 50}}
        key = {"Idempotency-Key": f"key {run}"}
        lost = web.post("/jobs", json=body, headers=key).json()["id"]
        readers = attach(scene.crowd, [lost], expects=(404, 410), expects_gaps=True)
        scene.jobs.wait_for_entries([lost], 20)
        if not alive:
            for worker in scene.stack.workers:
                worker.kill()
        scene.stack.redis.kill()
        scene.set_back(scene.begins(lost, "queued"))
        if not alive:
            scene.start_workers()
        for path in ("", "/stream", "/entries"):
            assert web.get(f"/jobs/{lost}{path}").status_code == 404
        again = web.post("/jobs", json=body, headers=key)
        assert (again.status_code, "Idempotent-Replayed" in again.headers) == (202, False)
        scene.jobs.accepted.append(Accepted(again.json()["id"], body["prompt"], body["params"]))
        scene.end()
        assert untold(readers) == []
    assert check_stack(scene.stack, scene.jobs.accepted, lost_history=True) == []
    measured(ROW, fault=f"submit lost, worker {'alive' if alive else 'dead'}", runs=RUNS, outcome="404, then anew")
