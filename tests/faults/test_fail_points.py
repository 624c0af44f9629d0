"""Killed, stopped, or without an answer, between any two steps of submit, claim, append, finish, hand back and keeping.

At each point a process of a running stack comes to its end, or to a halt, while jobs run and readers read. Every job
still ends once, with its golden text; every reader sees all of it; a submit that was cut off and is repeated with its
Idempotency-Key is one job.
"""

from __future__ import annotations

import secrets
import signal
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from spool.fail_points import POINTS
from tests.faults.aof import Aof
from tests.faults.armed import Armed
from tests.faults.caller import Caller
from tests.faults.checker import PREFIX, Accepted, check_stack
from tests.faults.crowd import Crowd
from tests.faults.jobs import ENDED, let_pass
from tests.stack import Stack, running_stack, wait_for

LEASE_S = 2
JOBS = 4
HEARTBEATS = 8
"""So many are in the process's first seconds, when it may have nothing yet."""

WORKER_POINTS = {
    "bell.heard": 1,
    "claim.before": 1,
    "claim.answered": 2,
    "claim.begun": 2,
    "piece.written": 1,
    "append.gathered": 5,
    "append.answered": 5,
    "finish.gathered": 1,
    "finish.answered": 2,
    "heartbeat.before": HEARTBEATS,
    "heartbeat.answered": HEARTBEATS,
    "keep.before": 4,
    "keep.answered": 4,
    "link.sent": 60,
}
"""Point → at the how manieth time."""
WEB_POINTS = ("submit.before", "submit.written", "submit.rung")
HAND_BACK_POINTS = ("hand_back.before", "hand_back.answered")
ADOPT_POINTS = ("adopt.before", "adopt.answered")
KEEPER_POINTS = ("keep.bell",)
PACK_POINTS = ("pack.taken", "pack.before", "pack.answered")
BATCH_POINTS = (
    "batch.staged",
    "batch.before",
    "batch.created",
    "batch.adding",
    "batch.added",
    "batch.feeding",
    "batch.fed",
    "pack_batch.staged",
    "pack_batch.before",
    "pack_batch.answered",
)
"""In tests/faults/test_batches.py; ``batch.staged`` in tests/spool/batches/test_store.py."""
DELIVERY_POINTS = ("delivery.taken", "delivery.sent")
"""In tests/faults/test_webhooks.py."""
PACK_AFTER_S = 0.3
LOSABLE = [name for name in WORKER_POINTS if POINTS[name].lost]

slow = pytest.mark.slow


@dataclass
class Ground:
    """A stack, whoever reads and calls, and the two workers: one that gets into trouble, and one that is stopped until
    it has."""

    stack: Stack
    crowd: Crowd
    caller: Caller
    worker: Armed
    other: Armed

    def submit(self, count: int = JOBS, **params: float) -> list[Accepted]:
        """Some jobs, each with two readers."""
        accepted = []
        for _ in range(count):
            prompt, said = secrets.token_hex(4), {"tokens": 60, "rate": 40, **params}
            job = self.caller.submit({"prompt": prompt, "params": said})
            assert job is not None, self.caller.violations
            accepted.append(Accepted(job, prompt, said))
            for transport in ("sse", "websocket"):
                self.crowd.follow(job, transport)
        return accepted

    def all_is_well(self, jobs: list[Accepted]) -> None:
        """Everything ends, as it should."""
        link = self.stack.redis.link

        def statuses() -> set[str]:
            replies = link.pipeline([("HGET", f"{PREFIX}job:{job.id}", "status") for job in jobs])
            return {(raw or b"").decode() for raw in replies}

        wait_for(lambda: statuses() <= ENDED, "all jobs have ended", 40)
        assert statuses() == {"succeeded"}
        mine = [one for one in self.crowd.followings if one.job in {job.id for job in jobs}]
        assert self.crowd.unfinished(10, mine) == []
        assert check_stack(self.stack, jobs, mine) == []
        assert self.caller.violations == []

    def wait_until(self, armed: Armed, point: str, action: str) -> None:
        """Until what was asked for has happened."""
        wait_for(lambda: (point, action) in armed.happened, f"{armed.process.name}: {armed.value}", 30)

    def other_goes_on(self) -> None:
        """The second worker is there again, as if it had just been slow."""
        self.other.process.resume()


@pytest.fixture(scope="module")
def shared(short_dir: Path) -> Iterator[Ground]:
    """One stack for all points."""
    directory = short_dir / "fail-points"
    directory.mkdir()
    with (
        running_stack(
            directory, LEASE_S=LEASE_S, MAX_ATTEMPTS=50, WORKER_DRAIN_S=1, PACK_AFTER_S=PACK_AFTER_S
        ) as stack,
        Crowd([web.url for web in stack.webs], pause_at_most_s=0.3) as crowd,
    ):
        caller = Caller([web.url for web in stack.webs])
        yield Ground(stack, crowd, caller, *(Armed(worker) for worker in stack.workers))
        caller.close()


@pytest.fixture
def ground(shared: Ground) -> Iterator[Ground]:
    """That stack, with its second worker stopped."""
    shared.caller.violations.clear()
    if not shared.other.process.running:
        shared.other.start()
        shared.stack.wait_ready()
    shared.other.process.pause()
    yield shared
    shared.other.process.resume()


def test_every_point_is_tried() -> None:
    """No point is left out below."""
    tried = {
        *WORKER_POINTS,
        *WEB_POINTS,
        *HAND_BACK_POINTS,
        *ADOPT_POINTS,
        *KEEPER_POINTS,
        *PACK_POINTS,
        *DELIVERY_POINTS,
        *BATCH_POINTS,
    }
    assert tried == set(POINTS)


@slow
@pytest.mark.parametrize("point", WORKER_POINTS)
def test_worker_killed(ground: Ground, point: str) -> None:
    """A worker dies right there; another one goes on."""
    ground.worker.start(f"{point}:{WORKER_POINTS[point]}:kill")
    jobs = ground.submit()
    ground.wait_until(ground.worker, point, "kill")
    wait_for(lambda: not ground.worker.process.running, "it is dead")
    ground.other_goes_on()
    ground.worker.start()
    ground.all_is_well(jobs)


@slow
@pytest.mark.parametrize("point", WORKER_POINTS)
def test_worker_stopped_past_its_lease(ground: Ground, point: str) -> None:
    """A worker stands still right there while others take its jobs over; when it goes on, nobody listens to it."""
    ground.worker.start(f"{point}:{WORKER_POINTS[point]}:stop")
    jobs = ground.submit()
    ground.wait_until(ground.worker, point, "stop")
    ground.other_goes_on()
    let_pass(LEASE_S + 1.5)
    ground.worker.process.resume()
    ground.all_is_well(jobs)


@slow
@pytest.mark.parametrize("point", LOSABLE)
def test_answer_lost(ground: Ground, point: str) -> None:
    """What Redis did there is done, and its answer is lost: it is asked again, and nothing is done twice."""
    ground.worker.start(f"{point}:p=0.2:seed=1:raise")
    jobs = ground.submit()
    ground.wait_until(ground.worker, point, "raise")
    ground.all_is_well(jobs)


@slow
@pytest.mark.parametrize("point", ["claim.begun", "append.answered", "finish.answered", "piece.written"])
def test_hub_held(ground: Ground, point: str) -> None:
    """The whole hub stands still for longer than a lease: its heartbeats go on, and so do its jobs afterwards."""
    ground.worker.start(f"{point}:2:block={LEASE_S + 1.5}")
    # No more than it has begun by then: where the hub has not read a claim's answer, nobody renews the lease.
    jobs = ground.submit(2) if point == "claim.begun" else ground.submit()
    ground.wait_until(ground.worker, point, "block")
    ground.all_is_well(jobs)
    link = ground.stack.redis.link
    assert {link.call("HGET", f"{PREFIX}job:{job.id}", "attempt") for job in jobs} == {b"1"}


@slow
@pytest.mark.parametrize("action", ["kill", "stop", "raise"])
@pytest.mark.parametrize("point", PACK_POINTS)
def test_packing_cut_off(ground: Ground, point: str, action: str) -> None:
    """A worker that packs logs comes to its end, to a halt, or loses Redis's answer: every log is packed once the lease
    is over, and reads as before."""
    if action == "raise" and not POINTS[point].lost:
        pytest.skip("no answer of Redis comes right before this point")
    ground.worker.start(f"{point}:p=1:seed=1:raise" if action == "raise" else f"{point}:1:{action}")
    jobs = ground.submit(tokens=30)
    ground.wait_until(ground.worker, point, action)
    ground.other_goes_on()
    if action == "stop":
        ground.worker.process.resume()
    else:
        ground.worker.start()
    ground.all_is_well(jobs)
    link, index = ground.stack.redis.link, f"{PREFIX}unpacked"

    def are_packed() -> bool:
        # As if the leases of a minute were over.
        for member in link.call("ZRANGE", index, 0, -1):
            link.call("ZADD", index, "XX", 1, member)
        return all(link.call("TYPE", f"{PREFIX}job:{job.id}:log") == b"string" for job in jobs)

    wait_for(are_packed, "every log is packed", 30)
    ground.all_is_well(jobs)


@slow
@pytest.mark.parametrize("action", ["kill", "stop"])
@pytest.mark.parametrize("point", HAND_BACK_POINTS)
def test_hand_back_cut_off(ground: Ground, point: str, action: str) -> None:
    """A worker that was told to stop comes to its end, or to a halt, in the middle of handing back."""
    ground.worker.start(f"{point}:2:{action}")
    jobs = ground.submit(tokens=200)
    link = ground.stack.redis.link
    wait_for(lambda: all(int(link.call("HGET", f"{PREFIX}job:{j.id}", "last")) > 5 for j in jobs), "all jobs run")
    ground.worker.process.signal(signal.SIGTERM)
    ground.wait_until(ground.worker, point, action)
    ground.other_goes_on()
    if action == "stop":
        let_pass(LEASE_S + 1.5)
        ground.worker.process.resume()
    ground.all_is_well(jobs)


@slow
@pytest.mark.parametrize("point", WEB_POINTS)
def test_web_killed(ground: Ground, point: str) -> None:
    """A web process dies in the middle of a submit. The caller asks again with its key, at either web, and has one
    job."""
    ground.other_goes_on()
    web = Armed(ground.stack.webs[0])
    web.start(f"{point}:2:kill")
    wait_for(ground.stack.webs[0].is_ready, "the web is ready")
    before = ground.stack.redis.link.call("GET", f"{PREFIX}seq") or b"0"
    jobs = ground.submit(6)
    ground.wait_until(web, point, "kill")
    ground.all_is_well(jobs)
    assert int(ground.stack.redis.link.call("GET", f"{PREFIX}seq")) - int(before) == len(jobs)


@slow
@pytest.mark.parametrize("point", KEEPER_POINTS)
def test_keeper_killed_between_bells(ground: Ground, point: str) -> None:
    """A web that keeps dies between two bells: who is left rings the others, and all jobs are taken."""
    ground.worker.start()
    ground.other_goes_on()
    ground.stack.wait_ready()
    web, link = Armed(ground.stack.webs[0]), ground.stack.redis.link
    # Nobody takes jobs for a moment, so that there is something to ring for; and only one web keeps.
    web.start(f"{point}:2:kill")
    wait_for(ground.stack.webs[0].is_ready, "the web is ready")
    ground.stack.webs[1].pause()
    for worker in ground.stack.workers:
        worker.pause()
    link.call("ZADD", f"{PREFIX}workers", 4_102_444_800_000, "somebody")
    link.call("HSET", f"{PREFIX}slots", "somebody", 9)
    caller = Caller([ground.stack.webs[0].url])
    jobs = replace(ground, caller=caller).submit()
    caller.close()
    ground.wait_until(web, point, "kill")
    for process in [*ground.stack.workers, ground.stack.webs[1]]:
        process.resume()
    link.call("ZREM", f"{PREFIX}workers", "somebody")
    link.call("HDEL", f"{PREFIX}slots", "somebody")
    ground.all_is_well(jobs)


@slow
@pytest.mark.parametrize("action", ["kill", "stop", "raise"])
@pytest.mark.parametrize("point", ADOPT_POINTS)
def test_adoption_cut_off(directory: Path, point: str, action: str) -> None:
    """Redis has lost the claim of a job, and while its worker takes it again the worker dies, halts, or gets no
    answer."""
    if action == "raise" and POINTS[point].lost is None:
        pytest.skip("no answer to lose there")
    with (
        running_stack(directory, aof=True, LEASE_S=LEASE_S, MAX_ATTEMPTS=50) as stack,
        Crowd([web.url for web in stack.webs], pause_at_most_s=0.3) as crowd,
    ):
        caller = Caller([web.url for web in stack.webs])
        ground = Ground(stack, crowd, caller, *(Armed(worker) for worker in stack.workers))
        ground.other.process.pause()
        ground.worker.start(f"{point}:1:{action}")
        jobs = ground.submit(1, tokens=120)
        job, aof = f"{PREFIX}job:{jobs[0].id}", Aof(stack)
        wait_for(lambda: int(stack.redis.link.call("HGET", job, "last")) > 10, "the answer has begun", 30)
        stack.redis.kill()
        aof.cut(next(step.at for step in aof.steps() if step.says(job, "running")))
        stack.redis.start()
        ground.wait_until(ground.worker, point, action)
        ground.other_goes_on()
        if action == "stop":
            let_pass(LEASE_S + 1.5)
            ground.worker.process.resume()
        wait_for(lambda: stack.redis.link.call("HGET", job, "status") == b"succeeded", "the job has ended", 40)
        assert crowd.unfinished(10) == []
        assert check_stack(stack, jobs, crowd.followings, lost_history=True) == []
        caller.close()
