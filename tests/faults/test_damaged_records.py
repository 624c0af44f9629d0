"""Anything that can be wrong with one job's keys, in each of its states: on the scripts, and beside a running stack."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from spool.redis.link import RedisLink
from tests.damage.mutations import Mutation, P, mutations
from tests.damage.trial import STATES, Trial
from tests.faults.jobs import ENDED, Jobs
from tests.faults.measured import measured
from tests.faults.vitals import processes_of
from tests.loopback import NO_CERTIFICATES
from tests.stack import Stack, running_stack

pytestmark = pytest.mark.slow

ROW = "anything wrong with one job's record"
SEED = int(os.environ.get("DAMAGE_SEED", "1"))
VICTIMS = 60
HEALTHY = 60
EACH = 5
"""One mutation in so many is tried in a run; the next seed tries others."""


@pytest.mark.parametrize("state", STATES)
@pytest.mark.timeout(1200)
def test_every_mutation_on_every_script(link: RedisLink, state: str) -> None:
    """Whatever is wrong with a job in this state, no script fails, and jobs beside it are claimed, kept and end."""
    count = len(Trial(link, state).mutations())
    tried = [number for number in range(count) if (number + SEED) % EACH == 0]
    wrong = []
    for number in tried:
        trial = Trial(link, state)
        # Their number depends a little on how jobs beside it stand.
        known = trial.mutations()
        mutation = known[min(number, len(known) - 1)]
        wrong += [f"{mutation.name}, seed {number}: {found}" for found in trial.run(mutation, random.Random(number))]
    measured(ROW, state=state, mutations=len(tried), seed=SEED, wrong=len(wrong))
    assert wrong == []


def test_trial_has_the_keys_of_the_queue(link: RedisLink) -> None:
    """The mutations know the keys of flows, holds, limits and closed models, since a trial has them all."""
    found = set[str]()
    for state in ("queued", "handed back", "succeeded"):
        trial = Trial(link, state)
        found |= {raw.decode().removeprefix(P).partition(":")[0] for raw in link.call("KEYS", f"{P}*")}
        named = " ".join(one.name for one in trial.mutations())
    flows = {"heads", "flow", "virtual", "clock", "retries", "batch-running", "output-tokens", "run-ms"}
    holds = {"scheduled", "turns", "conversation", "held", "held-keys", "held-key", "rated"}
    limits = {"closed-models", "closed", "probes", "owner-bucket", "owner-running", "key-running", "owner-limits"}
    assert (flows | holds | limits | {"ledger", "limits"}) - found == set()
    assert all(
        name in named for name in ("clock", "heads:interactive:demo", "turns:", "closed:closed", "conversation:")
    )


@pytest.fixture(scope="module")
def stack(short_dir: Path) -> Iterator[Stack]:
    """Two webs and two workers."""
    directory = short_dir / "damaged"
    directory.mkdir()
    with running_stack(directory) as running:
        yield running


def chosen(stack: Stack, job_id: str, dice: random.Random) -> Mutation:
    """One mutation of the job as it is now; none that moves the clocks which all jobs share."""
    found = list(mutations(stack.redis.link, job_id, {"batch": f"batch:{job_id}", "fence": "claim:none"}))
    return dice.choice(
        [one for one in found if one.name.startswith(("HDEL", "HSET", "SET :", "job:", "DEL job:", "XADD"))]
    )


def pids(stack: Stack) -> set[int]:
    """All processes of webs, and all workers. What a worker starts for a suspicious job ends by itself."""
    webs = {pid for web in stack.webs for pid in [web.pid, *processes_of(web)]}
    return webs | {worker.pid for worker in stack.workers if worker.running}


@pytest.mark.timeout(300)
def test_damage_while_the_stack_runs(stack: Stack) -> None:
    """Records break while their jobs are queued, run and are read: no process ends, no web answers 500, others end."""
    jobs, dice = Jobs(stack), random.Random(SEED)
    before = pids(stack)
    healthy = [jobs.submit(f"healthy {number}", tokens=40, rate=10) for number in range(HEALTHY)]
    victims = [jobs.submit(f"victim {number}", tokens=60, rate=10) for number in range(VICTIMS)]
    names = []
    statuses = set()
    for job_id in victims:
        mutation = chosen(stack, job_id, dice)
        names.append(mutation.name)
        mutation.act(stack.redis.link)
        for web in stack.webs:
            statuses.add(httpx.get(f"{web.url}/jobs/{job_id}", timeout=10, verify=NO_CERTIFICATES).status_code)
            statuses.add(
                httpx.get(f"{web.url}/jobs/{job_id}/entries?wait=0", timeout=10, verify=NO_CERTIFICATES).status_code
            )
            statuses.add(httpx.get(f"{web.url}/jobs", timeout=10, verify=NO_CERTIFICATES).status_code)
    jobs.wait_for_status(healthy, "succeeded", within_s=60)
    after = [jobs.submit(f"after {number}", tokens=5, rate=0) for number in range(10)]
    jobs.wait_for_status(after, "succeeded", within_s=30)
    measured(ROW, state="a stack", seed=SEED, mutations=len(names), statuses=sorted(statuses), ended=len(healthy))
    assert 500 not in statuses, names
    assert pids(stack) == before
    assert stack.worker_count() == 2


@pytest.mark.timeout(300)
def test_readers_of_damaged_jobs_are_told(stack: Stack) -> None:
    """A stream of a job whose record breaks ends, with a terminal entry or a gap, and does not hang."""
    jobs, dice = Jobs(stack), random.Random(SEED + 1)
    for number in range(12):
        job_id = jobs.submit(f"read {number}", tokens=80, rate=20)
        jobs.wait_for_entries([job_id], 3)
        with httpx.stream(
            "GET", f"{stack.webs[0].url}/jobs/{job_id}/stream", timeout=60, verify=NO_CERTIFICATES
        ) as answer:
            lines = answer.iter_lines()
            next(lines)
            mutation = dice.choice([one for one in mutations_of_record(stack, job_id) if "HDEL" in one.name])
            mutation.act(stack.redis.link)
            assert sum(1 for _ in lines) > 0, mutation.name


def mutations_of_record(stack: Stack, job_id: str) -> list[Mutation]:
    """Those of its record's fields."""
    found = mutations(stack.redis.link, job_id, {"batch": f"batch:{job_id}", "fence": "claim:none"})
    return [one for one in found if one.name.startswith(("HDEL", "HSET")) and "batch" not in one.name]


@pytest.mark.timeout(300)
def test_damage_of_every_index_while_the_stack_runs(stack: Stack) -> None:
    """Each key that all jobs share becomes another type, one after the other: no process ends, and jobs end as ever."""
    jobs, before = Jobs(stack), pids(stack)
    link = stack.redis.link
    names = ("pending:demo", "running:demo", "deadlines", "apart", "watched", "workers", "slots", "server", "unheard")
    flow = "interactive:anonymous:"
    queue = ("retries:demo", "heads:interactive:demo", f"flow:{flow}:demo", f"virtual:{flow}", "clock", "output-tokens")
    holds = ("scheduled", "held", "held:anonymous", "batch-running:demo", "owner-running:anonymous:demo", "run-ms")
    limits = ("closed-models", "closed:demo", "probes:demo", "limits", "owner-limits", "rated", "held-keys", "ledger")
    others = ("keeper", "keeper:lock", "kept", "models", "seq", "owner:anonymous", "notices", "reindex")
    for name in (*names, *queue, *holds, *limits, *others):
        mine = [jobs.submit(f"{name} {number}", tokens=20, rate=20) for number in range(4)]
        link.pipeline([("DEL", f"spool:{{0}}:{name}"), ("RPUSH", f"spool:{{0}}:{name}", "a")])
        jobs.wait_for_status(mine, *ENDED, within_s=30)
        assert set(jobs.fields(mine, "status")) == {"succeeded"}, name
    assert pids(stack) == before
