"""Whose turn it is: flows by tokens and weight, the two classes, and what charges and settlements add up to."""

from __future__ import annotations

from collections import Counter

import orjson
import pytest

from spool.jobs.claims import Claim
from spool.jobs.class_shares import BatchSlots, ClassShares
from spool.jobs.job import Priority
from spool.jobs.scheduling import Scheduling
from spool.keys import prefix
from spool.models.model import DEMO, Model
from spool.redis.link import RedisLink
from tests.by_hand import OWNER, HandWorker, done, keep, new_job, record, store_of, submit

P = prefix(0)
OTHER = Model(name="other", backend="openai")


def prompt(size: int, **params: object) -> dict[str, object]:
    """An input of some bytes."""
    return {"messages": [{"role": "user", "content": "x" * size}], "params": params}


def end(worker: HandWorker, claim: Claim, tokens: int) -> None:
    """End the job with a usage of so many tokens in all."""
    first = int(record(worker.link, claim.job.id)["last"]) + 1
    usage = {"input_tokens": 0, "output_tokens": tokens}
    ending = orjson.dumps({"status": "succeeded", "usage": usage, "finish_reason": "stop"})
    worker.append(claim, first, [done(first)], ending=ending)


def virtual(link: RedisLink, flow: str, model: str = "demo") -> int:
    """The virtual time of a flow at a model."""
    return int(link.call("HGET", f"{P}virtual:{flow}", f"@{model}") or 0)


def test_newcomer_does_not_wait_for_a_long_queue(link: RedisLink) -> None:
    """Behind any number of one owner's jobs, another owner's first job is the next one, and then they take turns."""
    store_of(link).submit_many([new_job() for _ in range(500)], max_queued=999)
    worker = HandWorker(link)
    worker.take()
    for _ in range(3):
        submit(link, owner="bob")
    assert [worker.take().job.owner for _ in range(6)] == ["bob", OWNER, "bob", OWNER, "bob", OWNER]


def test_turns_go_by_tokens(link: RedisLink) -> None:
    """An owner whose answers are four times as long gets a quarter of the turns."""
    worker = HandWorker(link)
    for owner in (OWNER, "bob"):
        store_of(link).submit_many([new_job(owner=owner) for _ in range(60)], max_queued=999)
    turns: Counter[str] = Counter()
    for _ in range(60):
        claim = worker.take()
        turns[claim.job.owner] += 1
        end(worker, claim, 400 if claim.job.owner == OWNER else 100)
    assert turns == {OWNER: 12, "bob": 48}


def test_running_work_counts(link: RedisLink) -> None:
    """A claim charges its estimate at once: four slots go to four owners, whoever came first."""
    for owner in [OWNER] * 9 + ["bob", "carol", "dave"]:
        submit(link, owner=owner)
    worker = HandWorker(link)
    assert {worker.take().job.owner for _ in range(4)} == {OWNER, "bob", "carol", "dave"}


def test_weight_of_a_flow(link: RedisLink) -> None:
    """A flow with half the weight gets half the tokens."""
    for key, weight in (("big", 1.0), ("small", 0.5)):
        scheduling = Scheduling(fairness_key=key, fairness_weight=weight)
        store_of(link).submit_many([new_job(scheduling=scheduling) for _ in range(40)], max_queued=999)
    worker, turns = HandWorker(link), Counter[str]()
    for _ in range(45):
        claim = worker.take()
        turns[record(link, claim.job.id)["fairness_key"]] += 1
        end(worker, claim, 100)
    assert turns == {"big": 30, "small": 15}


@pytest.mark.parametrize("key", [":", "a:b", "%3A", " x\n", "é", "x" * 64])
def test_name_of_a_fairness_key(link: RedisLink, key: str) -> None:
    """A fairness key of any characters is one flow of its owner, and no other."""
    submit(link, scheduling=Scheduling(fairness_key=key))
    assert HandWorker(link).take().job.owner == OWNER
    (name,) = link.call("KEYS", f"{P}virtual:*")
    assert name.decode().removeprefix(f"{P}virtual:").split(":")[:2] == ["interactive", OWNER]
    assert name.count(b":") == prefix(0).count(":") + 3


def test_no_credit_for_idle_time(link: RedisLink) -> None:
    """An owner that comes back takes turns with the others, however much they were given meanwhile."""
    worker = HandWorker(link)
    submit(link, owner="bob")
    end(worker, worker.take(), 10)
    for _ in range(60):
        submit(link)
    for _ in range(40):
        end(worker, worker.take(), 1000)
    for _ in range(10):
        submit(link, owner="bob")
    turns = Counter(worker.take().job.owner for _ in range(20))
    assert turns == {OWNER: 10, "bob": 10}


def test_settlement_by_usage(link: RedisLink) -> None:
    """A job's end replaces its estimate by what it used, however wrong that was."""
    submit(link, input=prompt(400, max_tokens=10_000))
    worker = HandWorker(link)
    claim = worker.take()
    flow = f"interactive:{OWNER}:"
    assert 600_000 <= virtual(link, flow) < 630_000
    end(worker, claim, 70)
    assert virtual(link, flow) == 70_001
    assert link.call("HMGET", f"{P}virtual:{flow}", "+demo", "+") == [b"0", b"0"]


@pytest.mark.parametrize("ending", ["cancel", "deadline"])
def test_settlement_by_the_log(link: RedisLink, ending: str) -> None:
    """Without a usage, the prompt and the tokens in the log count, also for a cancelled or failed job."""
    job = submit(link, input=prompt(400, max_tokens=10_000))
    worker = HandWorker(link)
    claim = worker.take()
    worker.say(claim, *["word "] * 20)
    if ending == "cancel":
        store_of(link).cancel(job.id, OWNER)
        worker.beat(claim)
    else:
        link.call("HSET", f"{P}job:{job.id}", "deadline_ms", 1)
        link.call("ZADD", f"{P}deadlines", 1, job.id)
        keep(link, lease_ms=60_000)
    assert 120_000 <= virtual(link, f"interactive:{OWNER}:") <= 150_000


def test_retry_is_not_charged_again(link: RedisLink) -> None:
    """A job that is claimed again costs its flow nothing more, and is settled once."""
    submit(link, input=prompt(4, max_tokens=100))
    worker = HandWorker(link)
    claim = worker.take()
    charged = virtual(link, f"interactive:{OWNER}:")
    for _ in range(3):
        worker.claims.hand_back(claim.job.id, claim.fence, counts=False)
        claim = worker.take()
    assert virtual(link, f"interactive:{OWNER}:") == charged
    end(worker, claim, 30)
    assert virtual(link, f"interactive:{OWNER}:") == 30_001


def test_fast_model_does_not_block_a_slow_one(link: RedisLink) -> None:
    """An owner that was given much at one model gets its turn at another one, although others wait there."""
    worker = HandWorker(link)
    for _ in range(20):
        submit(link)
        submit(link, owner="bob", model="other")
    submit(link, model="other")
    for _ in range(20):
        end(worker, worker.take(DEMO), 1000)
    owners = [worker.take(OTHER).job.owner for _ in range(20)]
    assert OWNER in owners


def test_models_share_slots_fairly(link: RedisLink) -> None:
    """Where slots are short and models are not, an owner that uses two models gets no more than one that uses one."""
    store_of(link).submit_many([new_job(model=name) for name in ("demo", "other") * 30], max_queued=999)
    store_of(link).submit_many([new_job(owner="bob") for _ in range(30)], max_queued=999)
    worker, given = HandWorker(link), Counter[str]()
    for _ in range(40):
        claim = worker.take(DEMO, OTHER)
        given[claim.job.owner] += 1
        end(worker, claim, 100)
    assert abs(given[OWNER] - given["bob"]) <= 2


def test_batch_gets_its_share(link: RedisLink) -> None:
    """While interactive jobs never run out, one claim in twenty is a batch job's."""
    store = store_of(link)
    store.submit_many([new_job() for _ in range(100)], max_queued=999)
    store.submit_many([new_job(priority=Priority.BATCH) for _ in range(9)], max_queued=999)
    worker = HandWorker(link)
    classes = [worker.take().job.priority for _ in range(80)]
    assert [n for n, one in enumerate(classes, 1) if one is Priority.BATCH] == [20, 40, 60, 80]


def test_batch_leaves_a_part_of_a_model_free(link: RedisLink) -> None:
    """Batch jobs fill a model up to the reserve, interactive ones fill it whole, and one batch job may always run."""
    worker = HandWorker(link)
    for limit, most in ((10, 8), (4, 3), (1, 1)):
        link.call("FLUSHALL")
        model = Model(name="small", backend="openai", max_running=limit)
        jobs = [new_job(model="small", priority=Priority.BATCH) for _ in range(12)]
        store_of(link).submit_many(jobs, max_queued=99)
        claims = [claim for claim in (worker.claim(model) for _ in range(12)) if claim]
        assert len(claims) == most
        for _ in range(12):
            submit(link, model="small")
        assert len([claim for claim in (worker.claim(model) for _ in range(12)) if claim]) == limit - most
        worker.finish(claims[0])
        assert worker.take(model).job.priority is Priority.INTERACTIVE


def test_worker_keeps_slots_free_of_batch(link: RedisLink) -> None:
    """A worker whose batch jobs use its slots up to the reserve claims interactive jobs alone."""
    slots = BatchSlots(ClassShares().batch_slots(5))
    worker = HandWorker(link, batch_slots=slots)
    for _ in range(9):
        submit(link, priority=Priority.BATCH)
    while worker.claim() is not None:
        slots.running += 1
    assert slots.running == 4
    interactive = submit(link)
    assert worker.take().job.id == interactive.id


@pytest.mark.parametrize(
    ("slots", "reserve", "most"), [(5, 0.2, 4), (1, 0.2, 1), (100, 0.2, 80), (3, 0.0, 3), (3, 0.9, 1)]
)
def test_slots_of_batch_jobs(slots: int, reserve: float, most: int) -> None:
    """The reserve is rounded up, and leaves at least one slot to batch jobs."""
    assert ClassShares(reserve=reserve).batch_slots(slots) == most


def test_order_in_which_equal_flows_come(link: RedisLink) -> None:
    """Flows that begin to wait at the same time take turns in the order in which they came, not of their names."""
    owners = ["zoe", "adam", "mia", "bob"]
    for owner in owners * 2:
        submit(link, owner=owner)
    worker = HandWorker(link)
    assert [worker.take().job.owner for _ in range(8)] == owners * 2


def test_one_flow_of_many_returns_with_each_end(link: RedisLink) -> None:
    """Of many flows of an owner at its limit, each end of a job lets the next one begin, and all get their turn."""
    link.call("HSET", f"{P}limits", "owner_running", 2)
    keys = [f"tenant{n}" for n in range(150)]
    store_of(link).submit_many([new_job(scheduling=Scheduling(fairness_key=key)) for key in keys], max_queued=999)
    worker = HandWorker(link)
    running = [worker.take(), worker.take()]
    assert worker.claim() is None
    assert link.call("ZCARD", f"{P}heads:interactive:demo") == 0
    found = []
    while running:
        claim = running.pop(0)
        found.append(record(link, claim.job.id)["fairness_key"])
        worker.finish(claim)
        running += filter(None, [worker.claim()])
    assert found == keys
    assert link.call("KEYS", f"{P}held*") == []


def test_flow_that_ends_while_others_are_parked(link: RedisLink) -> None:
    """Where the last job of an owner's only unparked flow is cancelled, the next flow takes its turn."""
    link.call("HSET", f"{P}limits", "owner_running", 1)
    jobs = [submit(link, scheduling=Scheduling(fairness_key=f"tenant{n}")).id for n in range(3)]
    worker = HandWorker(link)
    claim = worker.take()
    assert worker.claim() is None
    worker.finish(claim)
    store_of(link).cancel(jobs[1], OWNER)
    assert worker.take().job.id == jobs[2]


def test_flow_that_is_forgotten(link: RedisLink) -> None:
    """An idle flow is known for an hour; one that was forgotten while its job ran begins again at the clock."""
    submit(link)
    worker, flow = HandWorker(link), f"interactive:{OWNER}:"
    claim = worker.take()
    assert 0 < link.call("PTTL", f"{P}virtual:{flow}") <= 3_600_000
    link.call("DEL", f"{P}virtual:{flow}")
    end(worker, claim, 9000)
    assert link.call("EXISTS", f"{P}virtual:{flow}") == 0
    submit(link)
    assert virtual(link, flow) == int(link.call("HGET", f"{P}clock", "interactive:demo")) < 10_000


@pytest.mark.parametrize(("count", "is_delayed"), [(31, True), (70, False)])
def test_flow_that_uses_many_models(link: RedisLink, count: int, is_delayed: bool) -> None:
    """A flow is delayed at its other models by what it used, unless these are too many."""
    names = [f"m{number}" for number in range(count)]
    for name in ("demo", *names):
        submit(link, model=name)
    worker, flow = HandWorker(link), f"interactive:{OWNER}:"
    claim = worker.take()
    before = [virtual(link, flow, name) for name in names]
    end(worker, claim, 100)
    after = [virtual(link, flow, name) for name in names]
    assert after == [time + 100_000 * is_delayed for time in before]
