"""Limits of the owners file: they hold over every claim and end, jobs wait for them, and say why."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson
import pytest

from spool.jobs.claims import Claim
from spool.jobs.job import Job, Priority
from spool.jobs.owner_limits import OwnerLimits
from spool.jobs.scheduling import Scheduling
from spool.jobs.waits import Reason
from spool.keys import prefix
from spool.models.model import DEMO, Model
from spool.owners.limits import NO_OWNERS, Owners, Rates, Section
from spool.redis.link import RedisLink
from tests.by_hand import OWNER, HandWorker, age, done, keep, record, store_of, submit

P = prefix(0)
OTHER = Model(name="other", backend="demo")


def limit(link: RedisLink, **section: Any) -> None:
    """The limits of ``alice``; other owners have none."""
    store_of(link).publish_owners(Owners(sections={OWNER: Section(**section)}))


def submit_for(link: RedisLink, key: str = "", **fields: Any) -> Job:
    """A job of this fairness key."""
    return submit(link, scheduling=Scheduling(fairness_key=key), **fields)


def begun(worker: HandWorker, *models: Model) -> list[Claim]:
    """All jobs that may begin."""
    found: list[Claim] = []
    while (claim := worker.claim(*models or (DEMO, OTHER))) is not None:
        found.append(claim)
        assert len(found) < 50
    return found


def models_of(claims: Iterable[Claim]) -> list[str]:
    """The model of each, in order of name."""
    return sorted(claim.job.model for claim in claims)


def test_owner_over_all_models(link: RedisLink) -> None:
    """An owner's running jobs count over all models, and others go past."""
    limit(link, rates=Rates(max_running=3))
    for model in ("demo", "other") * 3:
        submit(link, model=model)
    submit(link, owner="bob")
    worker = HandWorker(link)
    claims = begun(worker)
    assert sorted(claim.job.owner for claim in claims) == [OWNER] * 3 + ["bob"]
    worker.finish(next(claim for claim in claims if claim.job.owner == OWNER))
    assert len(begun(worker)) == 1


def test_owner_and_model(link: RedisLink) -> None:
    """A limit of one model leaves the owner's other jobs alone; one begins when one of that model ends."""
    limit(link, models={"other": Rates(max_running=2)})
    for model in ("other", "other", "other", "other", "demo", "demo", "demo"):
        submit(link, model=model)
    worker = HandWorker(link)
    claims = begun(worker)
    assert models_of(claims) == ["demo"] * 3 + ["other"] * 2
    worker.finish(next(claim for claim in claims if claim.job.model == "demo"))
    assert begun(worker) == []
    worker.finish(next(claim for claim in claims if claim.job.model == "other"))
    assert models_of(begun(worker)) == ["other"]


def test_fairness_key_over_models_and_classes(link: RedisLink) -> None:
    """A key's running jobs count over models and classes; jobs of other keys, and without one, begin."""
    limit(link, fairness_key_max_running=1)
    for key in ("k", "l", ""):
        submit_for(link, key)
        submit_for(link, key, model="other")
        submit_for(link, key, priority=Priority.BATCH)
    worker = HandWorker(link)
    claims = begun(worker)
    keys = sorted(claim.job.scheduling.fairness_key for claim in claims)
    assert keys == ["", "", "", "k", "l"]
    for _ in range(2):
        worker.finish(next(claim for claim in claims if claim.job.scheduling.fairness_key == "k"))
        claims = begun(worker)
        assert [claim.job.scheduling.fairness_key for claim in claims] == ["k"]


def test_key_at_its_limit_does_not_hide_other_keys(link: RedisLink) -> None:
    """While the owner is at its limit all its flows are parked. When one job ends, a flow whose key is at its limit
    returns first, and the next one begins nevertheless."""
    limit(link, rates=Rates(max_running=2), fairness_key_max_running=1)
    submit_for(link, "k")
    submit_for(link, "x")
    worker = HandWorker(link)
    claims = begun(worker)
    for key in ("k", "l", "m"):
        submit_for(link, key)
    assert begun(worker) == []
    worker.finish(next(claim for claim in claims if claim.job.scheduling.fairness_key == "x"))
    assert [claim.job.scheduling.fairness_key for claim in begun(worker)] == ["l"]


@pytest.mark.parametrize("scope", ["owner", "owner_model"])
@pytest.mark.parametrize("kind", ["rpm", "tpm"])
def test_rates_of_an_owner(link: RedisLink, kind: str, scope: str) -> None:
    """Beyond the rate of an owner, or of its jobs of a model, its jobs wait until something has flowed in; others
    begin meanwhile."""
    rates = Rates(**{kind: 40})
    limit(link, **({"rates": rates} if scope == "owner" else {"models": {"demo": rates}}))
    for owner in [OWNER] * 5 + ["bob"] * 3:
        submit(link, owner=owner)
    submit(link, model="other")
    worker = HandWorker(link)
    claims = begun(worker)
    mine = models_of(claim for claim in claims if claim.job.owner == OWNER)
    assert mine == (["demo"] * (2 if kind == "rpm" else 1) + ["other"] * (scope == "owner_model"))[: len(mine)]
    assert len(claims) - len(mine) == 3
    bucket = f"{P}owner-bucket:{kind}:{OWNER}" + (":demo" if scope == "owner_model" else "")
    assert float(link.call("HGET", bucket, "left")) < 1
    link.call("DEL", bucket)
    link.call("ZADD", f"{P}rated", 1, OWNER)
    assert begun(worker)


def test_tokens_of_an_owner_are_settled(link: RedisLink) -> None:
    """An end replaces the estimate by what was used; a lost attempt gives it back."""
    limit(link, rates=Rates(tpm=1_000_000), models={"demo": Rates(tpm=1_000_000)})
    worker = HandWorker(link)
    submit(link)
    claim = worker.take()
    buckets = [f"{P}owner-bucket:tpm:{OWNER}", f"{P}owner-bucket:tpm:{OWNER}:demo"]
    for bucket in buckets:
        assert float(link.call("HGET", bucket, "left")) < 50_000
    worker.claims.hand_back(claim.job.id, claim.fence, counts=False)
    assert link.call("EXISTS", *buckets) == 0
    claim = worker.take()
    ending = orjson.dumps({"status": "succeeded", "usage": {"input_tokens": 10, "output_tokens": 90_000}})
    worker.append(claim, claim.first, [done(claim.first)], ending=ending)
    for bucket in buckets:
        # Of 50,000; what flows in meanwhile depends on the time that this takes.
        assert -40_010 <= float(link.call("HGET", bucket, "left")) < 0


def test_limit_that_changes(link: RedisLink) -> None:
    """A lower limit holds from the next claim, for the jobs that run already, too; a higher one, and none, within a
    round of the keeper."""
    for _ in range(9):
        submit_for(link, "k")
    worker = HandWorker(link)
    claims = [worker.take() for _ in range(3)]
    limit(link, models={"demo": Rates(max_running=3)}, fairness_key_max_running=4)
    assert begun(worker) == []
    worker.finish(claims[0])
    assert len(begun(worker)) == 1
    limit(link, models={"demo": Rates(max_running=5)}, fairness_key_max_running=4)
    keep(link, lease_ms=60_000)
    assert len(begun(worker)) == 1
    store_of(link).publish_owners(NO_OWNERS)
    keep(link, lease_ms=60_000)
    assert len(begun(worker)) == 4


def test_default_and_settings(link: RedisLink) -> None:
    """An owner without a section has the default's limits. The settings' limit of running jobs holds where the file
    has none; 0 removes it."""
    store = store_of(link)
    store.publish_limits(OwnerLimits(running=1))
    owners = {"ann": Section(rates=Rates(max_running=0)), "bob": Section()}
    store.publish_owners(Owners(Section(rates=Rates(max_running=2)), owners))
    for owner in ("ann", "bob", "eve"):
        for _ in range(4):
            submit(link, owner=owner)
    owners_begun = [claim.job.owner for claim in begun(HandWorker(link))]
    assert [owners_begun.count(owner) for owner in ("ann", "bob", "eve")] == [4, 1, 2]


def test_retry_and_quarantine_wait_too(link: RedisLink) -> None:
    """A job that ran before is claimed within the limits of its owner, also a quarantined one."""
    limit(link, fairness_key_max_running=1)
    jobs = [submit_for(link, "k") for _ in range(2)]
    worker = HandWorker(link)
    first = worker.take()
    worker.claims.hand_back(first.job.id, first.fence, counts=False)
    assert worker.take().job.id == jobs[0].id
    assert begun(worker) == []
    for _ in range(2):
        age(link, jobs[0].id, leased_until_ms=1)
        keep(link, lease_ms=60_000)
        claim = worker.claim()
    assert claim is not None
    assert claim.job.id == jobs[1].id
    assert worker.claim(wanted="apart") is None
    worker.finish(claim)
    quarantined = worker.claim(wanted="apart")
    assert quarantined is not None
    assert quarantined.job.id == jobs[0].id


@pytest.mark.parametrize(
    ("section", "reason", "detail"),
    [
        ({"rates": Rates(max_running=1)}, Reason.OWNER_LIMIT, {"running": 1, "limit": 1, "scope": "owner"}),
        (
            {"models": {"demo": Rates(max_running=1)}},
            Reason.OWNER_LIMIT,
            {"running": 1, "limit": 1, "scope": "owner_model"},
        ),
        ({"fairness_key_max_running": 1}, Reason.OWNER_LIMIT, {"running": 1, "limit": 1, "scope": "fairness_key"}),
        ({"rates": Rates(rpm=1)}, Reason.RATE_LIMIT, {"scope": "owner"}),
    ],
    ids=["owner", "owner and model", "fairness key", "rate"],
)
def test_waiting_job_says_why(link: RedisLink, section: dict[str, Any], reason: Reason, detail: dict[str, Any]) -> None:
    """A waiting job names the limit, its scope, and until when it waits for a rate; parked or not."""
    limit(link, **section)
    submit_for(link, "k")
    worker = HandWorker(link)
    worker.take()
    waiting = submit_for(link, "k")
    for _ in range(2):
        _facts, found = store_of(link).look_queue("demo", [waiting.id])
        place = found[waiting.id]
        assert place.reason is reason
        shown = dict(place.detail or {})
        assert (shown.pop("until_s", None) is not None) == (reason is Reason.RATE_LIMIT)
        assert shown == detail
        assert worker.claim() is None


def test_counts_end_with_the_jobs(link: RedisLink) -> None:
    """However an attempt ends, no scope counts it afterwards; and a record that was lost stops counting."""
    limit(link, fairness_key_max_running=1, models={"demo": Rates(max_running=9)})
    worker, jobs = HandWorker(link), [submit_for(link, f"k{n}").id for n in range(4)]
    claims = {claim.job.id: claim for claim in begun(worker)}
    worker.finish(claims[jobs[0]])
    store_of(link).cancel(jobs[1], OWNER)
    worker.beat(claims[jobs[1]])
    age(link, jobs[2], leased_until_ms=1)
    keep(link, lease_ms=60_000, max_attempts=1)
    waiting = submit_for(link, "k3")
    assert begun(worker) == []
    link.call("DEL", f"{P}job:{jobs[3]}")
    link.call("ZREM", f"{P}running:demo", jobs[3])
    keep(link, lease_ms=60_000)
    (claim,) = begun(worker)
    assert claim.job.id == waiting.id
    worker.finish(claim)
    counted = link.call("KEYS", f"{P}*-running:*")
    assert {member.decode() for key in counted for member in link.call("SMEMBERS", key)} <= {jobs[3]}


def test_parked_flows_whose_jobs_were_cancelled(link: RedisLink) -> None:
    """They do not delay the flow behind them: it takes the turn of the job that ends, without a round of the keeper."""
    limit(link, rates=Rates(max_running=1))
    worker, jobs = HandWorker(link), [submit_for(link, f"k{n}") for n in range(30)]
    (first,) = begun(worker)
    for job in reversed(jobs[1:-1]):
        store_of(link).cancel(job.id, OWNER)
        assert begun(worker) == []
    worker.finish(first)
    assert [claim.job.id for claim in begun(worker)] == [jobs[-1].id]


@pytest.mark.parametrize("stored", ['{"models":{"demo":7}}', '{"models":{"demo":null}}', "[]", "7", "no JSON"])
def test_damaged_limits_are_none(link: RedisLink, stored: str) -> None:
    """Limits that Spool did not write limit nothing, and stop no claim."""
    limit(link, rates=Rates(max_running=1))
    link.call("HSET", f"{P}owner-limits", OWNER, stored)
    for _ in range(2):
        submit(link)
    assert len(begun(HandWorker(link))) == 2


def virtual_times(link: RedisLink, key: str) -> dict[str, int]:
    """The virtual times of a fairness key's flow, and what is charged of them."""
    raw = link.call("HGETALL", f"{P}virtual:interactive:{OWNER}:{key}")
    return {raw[n].decode(): int(raw[n + 1]) for n in range(0, len(raw), 2)}


@pytest.mark.parametrize(("wished", "counts"), [(None, 0.5), (2.0, 0.5), (0.2, 0.2)], ids=["none", "above", "below"])
def test_weight_of_an_owner(link: RedisLink, wished: float | None, counts: float) -> None:
    """An owner's weight is that of its flows, and bounds the weight that a job asks for."""
    limit(link, weight=0.5)
    submit(link, scheduling=Scheduling(fairness_key="k", fairness_weight=wished))
    claim = HandWorker(link).take()
    charge = int(record(link, claim.job.id)["charge"])
    assert virtual_times(link, "k")["+"] == round(charge * 1000 / counts)


def test_weight_that_changes_while_a_job_runs(link: RedisLink) -> None:
    """A settlement takes back what was charged, with the weight of that time."""
    limit(link, weight=0.5)
    submit_for(link, "k")
    worker = HandWorker(link)
    claim = worker.take()
    before = virtual_times(link, "k")["@"] - virtual_times(link, "k")["+"]
    limit(link, weight=4.0)
    worker.claims.hand_back(claim.job.id, claim.fence, counts=False)
    claim = worker.take()
    ending = orjson.dumps({"status": "succeeded", "usage": {"input_tokens": 10, "output_tokens": 90}})
    worker.append(claim, claim.first, [done(claim.first)], ending=ending)
    after = virtual_times(link, "k")
    assert (after["+"], after["+demo"]) == (0, 0)
    assert after["@"] == before + 100 * 1000 / 0.5


def test_web_that_publishes_again(link: RedisLink) -> None:
    """The same limits are sent once, and again if Redis has lost them."""
    owners = Owners(sections={OWNER: Section(rates=Rates(max_running=1))})
    store = store_of(link)
    store.publish_owners(owners)
    stored = link.call("HGETALL", f"{P}owner-limits")
    link.call("HSET", f"{P}owner-limits", "mark", "{}")
    store.publish_owners(owners)
    assert link.call("HEXISTS", f"{P}owner-limits", "mark") == 1
    link.call("DEL", f"{P}owner-limits")
    store.publish_owners(owners)
    assert link.call("HGETALL", f"{P}owner-limits") == stored
    store.publish_owners(NO_OWNERS)
    assert link.call("EXISTS", f"{P}owner-limits") == 0
