"""Waits: the place of a queued job, its reason, and when it may begin."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from spool.ids import new_batch_id
from spool.jobs.closed_models import ClosedModels
from spool.jobs.entries import rfc3339
from spool.jobs.job import Job, Priority
from spool.jobs.owner_limits import OwnerLimits
from spool.jobs.queue_facts import QueueFacts
from spool.jobs.scheduling import Conversation, Scheduling
from spool.jobs.submission import NewBatch
from spool.jobs.waits import Place, Reason, Wait, flow_of, place_of, wait_of
from spool.keys import prefix
from spool.redis.link import RedisLink
from tests.by_hand import OWNER, HandWorker, new_job, shards_of, store_of, submit

NOW = 1_795_253_400.0
FACTS = QueueFacts(NOW, waiting=9, running=4, workers=1, run_s=10.0)


@pytest.mark.parametrize(
    ("facts", "place", "limit", "shown"),
    [
        (FACTS, Place(0), 0, (0, 2.5, {"reason": "turn"})),
        (FACTS, Place(7), 0, (7, 20.0, {"reason": "turn"})),
        (FACTS, Place(3), 4, (3, 10.0, {"reason": "model_full", "running": 4, "limit": 4})),
        (FACTS, Place(3), 5, (3, 10.0, {"reason": "turn"})),
        (replace(FACTS, run_s=None), Place(3), 0, (3, None, {"reason": "turn"})),
        (replace(FACTS, running=0), Place(1), 0, (1, 20.0, {"reason": "turn"})),
        (replace(FACTS, workers=0), Place(1), 4, (1, None, {"reason": "no_worker"})),
        (
            FACTS,
            Place(1, reason=Reason.UPSTREAM, detail={"until_s": NOW + 60, "status": 429}),
            4,
            (1, 60.0, {"reason": "upstream", "until": "2026-11-21T09:31:00.000Z", "status": 429}),
        ),
        (
            FACTS,
            Place(1, reason=Reason.UPSTREAM, detail={"status": 503}),
            4,
            (1, 5.0, {"reason": "upstream", "status": 503}),
        ),
        (
            FACTS,
            Place(1, reason=Reason.RATE_LIMIT, detail={"until_s": NOW + 60}),
            0,
            (1, 60.0, {"reason": "rate_limit", "until": "2026-11-21T09:31:00.000Z"}),
        ),
        (
            FACTS,
            Place(2, reason=Reason.OWNER_LIMIT, detail={"running": 2, "limit": 2}),
            0,
            (2, 7.5, {"reason": "owner_limit", "running": 2, "limit": 2}),
        ),
        (
            replace(FACTS, workers=0),
            Place(None, reason=Reason.NOT_BEFORE, detail={"until_s": NOW + 60}),
            0,
            (None, 60.0, {"reason": "not_before", "until": "2026-11-21T09:31:00.000Z"}),
        ),
        (
            FACTS,
            Place(None, reason=Reason.CONVERSATION, detail={"job": "j"}),
            0,
            (None, None, {"reason": "conversation", "job": "j"}),
        ),
    ],
    ids=[
        "first",
        "turn",
        "full",
        "room",
        "unknown",
        "idle",
        "no worker",
        "closed",
        "tried",
        "rate",
        "owner",
        "not before",
        "conversation",
    ],
)
def test_wait_of(facts: QueueFacts, place: Place, limit: int, shown: tuple[int | None, float | None, Any]) -> None:
    """The running jobs end at the pace of the last ones. What keeps all jobs of a model comes before a job's turn."""
    wait = wait_of(facts, place, limit)
    starts_in = None if wait.starts_at is None else wait.starts_at - NOW
    assert (wait.position, starts_in, wait.public()["waiting_for"]) == shown


def test_wait_for_a_paused_model() -> None:
    """It shows the pause and no time, also without a worker, but what the job waits for itself comes first."""
    assert wait_of(FACTS, Place(2), is_paused=True).public() == {
        "position_is": "exact",
        "estimated_start_at": None,
        "waiting_for": {"reason": "paused"},
    }
    assert wait_of(replace(FACTS, workers=0), Place(2), is_paused=True).reason is Reason.PAUSED
    before = Place(None, reason=Reason.NOT_BEFORE, detail={"until_s": NOW + 60})
    assert wait_of(FACTS, before, is_paused=True).reason is Reason.NOT_BEFORE


def test_message() -> None:
    """A ``queued`` message has the fields of the contract, and neither an id nor a kind."""
    assert wait_of(FACTS, Place(7)).message() == {
        "type": "queued",
        "position": 7,
        "position_is": "exact",
        "estimated_start_at": "2026-11-21T09:30:20.000Z",
        "waiting_for": {"reason": "turn"},
    }


@pytest.mark.parametrize(
    ("told", "differs"),
    [
        (None, True),
        (Wait(7, NOW + 20, Reason.TURN, {}), False),
        (Wait(7, NOW + 21.5, Reason.TURN, {}), False),
        (Wait(7, NOW + 40, Reason.TURN, {}), True),
        (Wait(7, None, Reason.TURN, {}), True),
        (Wait(8, NOW + 20, Reason.TURN, {}), True),
        (Wait(7, NOW + 20, Reason.MODEL_FULL, {}), True),
        (Wait(7, NOW + 20, Reason.TURN, {"running": 1}), True),
    ],
    ids=["first", "same", "little", "much", "known", "position", "reason", "detail"],
)
def test_differs(told: Wait | None, differs: bool) -> None:
    """A wait is told again when position or reason change, or the estimate moves by more than a tenth."""
    assert Wait(7, NOW + 20, Reason.TURN, {}).differs(told, NOW) is differs


def places(link: RedisLink, *jobs: Job) -> tuple[QueueFacts, list[Place | None]]:
    """What the script answers for these jobs."""
    facts, found = store_of(link).look_queue("demo", [job.id for job in jobs])
    return facts, [found.get(job.id) for job in jobs]


@pytest.mark.one_shard
def test_places_in_the_queue(link: RedisLink) -> None:
    """Jobs are counted within their flow; a job that runs has no place, and a retry is before all."""
    worker = HandWorker(link)
    worker.beat(free=1)
    first, second, third = (submit(link) for _ in range(3))
    other = submit(link, owner="bob", scheduling=Scheduling(fairness_key="a b"))
    facts, found = places(link, first, second, third, other)
    assert [place and (place.flow, place.before) for place in found] == [
        ("interactive:alice:", 0),
        ("interactive:alice:", 1),
        ("interactive:alice:", 2),
        ("interactive:bob:a%20b", 0),
    ]
    assert [flow_of(job) for job in (first, other)] == ["interactive:alice:", "interactive:bob:a%20b"]
    assert (facts.waiting, facts.running, facts.workers, facts.run_s) == (4, 0, 1, None)
    claim = worker.take_job(first.id)
    facts, found = places(link, first, second)
    assert (found[0], found[1] and found[1].before, facts.running) == (None, 0, facts.running)
    worker.claims.hand_back(first.id, claim.fence, counts=False)
    facts, found = places(link, first, second)
    assert (found[0], facts.retries) == (Place(0, detail={}), 1)
    worker.finish(worker.take_job(first.id))
    assert places(link, first)[0].run_s is None, "the time of a job that ran twice is no measure"


@pytest.mark.one_shard
def test_positions_are_those_of_claims(link: RedisLink) -> None:
    """Jobs of several flows, of other weights and of a batch begin in the order of their positions."""
    jobs = [submit(link) for _ in range(6)]
    jobs += [submit(link, owner="bob", scheduling=Scheduling("k", fairness_weight=2.0)) for _ in range(6)]
    jobs += [submit(link, owner="carol") for _ in range(2)]
    facts, found = places(link, *jobs)
    positions = {
        job.id: facts.position(place.flow, place.here, place.before or 0)[0]
        for job, place in zip(jobs, found, strict=True)
        if place is not None
    }
    worker = HandWorker(link)
    claims = [worker.take().job.id for _ in jobs]
    assert sorted(positions.values()) == list(range(len(jobs)))
    assert [positions[job_id] for job_id in claims] == list(range(len(jobs)))


@pytest.mark.one_shard
def test_positions_in_batches(link: RedisLink) -> None:
    """A job of a batch waits for those before it in the batch, and the class for the one before it."""
    shards, store = shards_of(link), store_of(link)
    batch_id = new_batch_id(0)
    jobs = [shards.place(new_job(batch=batch_id, batch_index=n, priority=Priority.BATCH)) for n in range(3)]
    store.stage_batch(NewBatch(batch_id, OWNER, jobs), max_queued=10)
    store.submit_many(jobs, max_queued=10)
    store.seal_batch(NewBatch(batch_id, OWNER, jobs))
    last, interactive = submit(link, priority=Priority.BATCH), submit(link)
    facts, found = store.look_queue("demo", [job.id for job in jobs] + [last.id, interactive.id])
    places_found = [found[job.id] for job in (*jobs, last, interactive)]
    assert [place.before for place in places_found] == [0, 1, 2, 3, 0]
    assert [facts.position(place.flow, place.here, place.before or 0) for place in places_found] == [
        (1, True),
        (2, True),
        (3, True),
        (4, True),
        (0, True),
    ]


@pytest.mark.one_shard
def test_place_of_a_job_whose_upstream_refuses(link: RedisLink) -> None:
    """A job of a closed model is told the upstream's status, and until when it waits unless jobs are tried now."""
    submit(link)
    job, claim = submit(link), HandWorker(link).take()
    until = ClosedModels(shards_of(link)).refuse(claim, "HTTP 429", status=429).retry_at
    facts, [place] = places(link, job)
    assert place is not None
    assert (place.before, place.reason, place.detail) == (0, "upstream", {"until_s": until, "status": 429})
    facts = replace(facts, workers=1, running=4, run_s=0.1)
    wait = wait_of(facts, place, max_running=4)
    assert (wait.reason, wait.starts_at, wait.detail) == ("upstream", until, {"until": rfc3339(until), "status": 429})
    link.call("HSET", f"{prefix(0)}closed:demo", "until_ms", 1)
    [place] = places(link, job)[1]
    assert place is not None
    assert (place.reason, place.detail) == ("upstream", {"status": 429})


@pytest.mark.one_shard
def test_places_of_held_jobs(link: RedisLink) -> None:
    """A held job is told what holds it: its time, or the job with the turn."""
    at = round(time.time() + 3600, 3)
    later = submit(link, scheduling=Scheduling(not_before=at))
    first, second = (submit(link, scheduling=Scheduling(conversation=Conversation("c"))) for _ in range(2))
    facts, found = places(link, later, first, second)
    assert found == [
        Place(None, reason=Reason.NOT_BEFORE, detail={"until_s": at}),
        Place(0, "interactive:alice:", found[1].here if found[1] else -1, detail={}),
        Place(None, reason=Reason.CONVERSATION, detail={"job": first.id}),
    ]
    assert [place_of(job, facts).reason for job in (later, first, second)] == ["not_before", "turn", "conversation"]


@pytest.mark.one_shard
def test_place_of_an_owner_at_its_limit(link: RedisLink) -> None:
    """A job whose owner runs as many as may is told the limit."""
    store_of(link).publish_limits(OwnerLimits(running=1))
    submit(link)
    HandWorker(link).take()
    _facts, found = places(link, submit(link))
    assert found[0] is not None
    assert (found[0].reason, found[0].detail) == (Reason.OWNER_LIMIT, {"running": 1, "limit": 1, "scope": "owner"})


@pytest.mark.one_shard
def test_places_beside_damaged_indexes(link: RedisLink) -> None:
    """Keys of another type are no error: the look reads, and the keeper mends."""
    job = submit(link)
    for name in ("pending:demo", "limits", "workers", "run-ms", "scheduled"):
        link.call("DEL", f"{prefix(0)}{name}")
        link.call("RPUSH", f"{prefix(0)}{name}", "x")
    facts, found = places(link, job)
    assert (facts.waiting, facts.workers, facts.run_s) == (0, 0, None)
    assert found == [None]


@pytest.mark.one_shard
@pytest.mark.parametrize("score", ["-inf", "+inf", "1e17"])
def test_places_beside_damaged_flows(link: RedisLink, score: str) -> None:
    """A flow with a name that is no text, or a virtual time that no flow has, does not keep the others' jobs from
    showing their positions; nor does a time that cannot be shown."""
    job, later = submit(link), submit(link, scheduling=Scheduling(not_before=time.time() + 3600))
    link.call("ZADD", f"{prefix(0)}heads:interactive:demo", score, b"no \xff name", score, "interactive:bob:")
    link.call("ZADD", f"{prefix(0)}scheduled", score, later.id)
    facts, found = places(link, job, later)
    for place in found:
        assert place is not None
        assert wait_of(facts, place).message()["type"] == "queued"
    assert facts.interactive.total == 3
