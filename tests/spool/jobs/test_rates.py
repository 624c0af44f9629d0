"""Requests and tokens a minute of a model: jobs wait while its buckets are empty, and no token is lost."""

from __future__ import annotations

import orjson

from spool.jobs.claims import Claim
from spool.jobs.waits import Reason
from spool.keys import job as job_key
from spool.keys import prefix
from spool.models.model import DEMO, Model
from spool.redis.link import RedisLink
from tests.by_hand import HandWorker, age, done, keep, store_of, submit

P = prefix(0)
SLOW = Model(name="slow", backend="openai", rpm=20)
SMALL = Model(name="small", backend="openai", tpm=20_000)


def left(link: RedisLink, kind: str, model: Model) -> float | None:
    """What the bucket had left when it was last changed; None if it is full."""
    raw = link.call("HGET", f"{P}bucket:{kind}:{model.name}", "left")
    return None if raw is None else float(raw)


def pass_time(link: RedisLink, kind: str, model: Model, seconds: float) -> None:
    """Let the time pass for one bucket."""
    key = f"{P}bucket:{kind}:{model.name}"
    link.call("HINCRBY", key, "at_ms", -round(seconds * 1000))


def charge(link: RedisLink, claim: Claim) -> int:
    """The tokens that the attempt was estimated to take."""
    return int(link.call("HGET", job_key(claim.job.id), "charge"))


def test_requests_a_minute(link: RedisLink) -> None:
    """A twentieth of the minute's requests begin at once, the others later; other models are not delayed."""
    for _ in range(9):
        submit(link, model="slow")
    worker = HandWorker(link)
    begun = 0
    while worker.claim(SLOW) is not None:
        begun += 1
        assert begun < 9
    assert begun >= 1
    submit(link)
    assert worker.take(SLOW, DEMO).job.model == "demo"
    assert worker.claim(SLOW) is None
    pass_time(link, "rpm", SLOW, 4)
    assert worker.claim(SLOW) is not None


def test_no_minute_has_more_than_the_limit(link: RedisLink) -> None:
    """What a full bucket holds and what flows in within a minute are together the limit."""
    for limit in (1, 7, 60, 600):
        model = Model(name=f"m{limit}", backend="openai", rpm=limit, tpm=limit)
        submit(link, model=model.name)
        HandWorker(link).take(model)
        for kind in ("rpm", "tpm"):
            bucket = f"{P}bucket:{kind}:{model.name}"
            most, a_minute = (float(raw) for raw in link.call("HMGET", bucket, "most", "a_minute"))
            assert most + a_minute <= limit + (1 if kind == "rpm" or limit == 1 else 0)
            assert a_minute > 0


def test_tokens_a_minute(link: RedisLink) -> None:
    """A job that begins takes its estimate; while nothing is left, the others wait until the debt has flowed in."""
    for _ in range(5):
        submit(link, model="small")
    worker = HandWorker(link)
    first = worker.take(SMALL)
    expected = 1000 - charge(link, first)
    assert left(link, "tpm", SMALL) == expected
    while (claim := worker.claim(SMALL)) is not None:
        assert claim.job.model == "small"
    debt = left(link, "tpm", SMALL)
    assert debt is not None
    assert debt < 1
    pass_time(link, "tpm", SMALL, 30)
    assert worker.claim(SMALL) is not None


def test_end_settles_the_estimate(link: RedisLink) -> None:
    """The end replaces the estimate by the tokens that were used, more or fewer."""
    for used in (1, 9000):
        submit(link, model="small")
        worker = HandWorker(link)
        claim = worker.take(SMALL)
        charged = charge(link, claim)
        # A bucket into which hardly anything flows, however slow the test is.
        link.call("HSET", job_key(claim.job.id), "reserved", f"{charged} 1000.000 0.100")
        link.call("HSET", f"{P}bucket:tpm:small", "left", -5000)
        usage = {"input_tokens": 0, "output_tokens": used}
        end = orjson.dumps({"status": "succeeded", "usage": usage, "finish_reason": "stop"})
        worker.append(claim, claim.first, [done(claim.first)], ending=end)
        found = left(link, "tpm", SMALL)
        assert found is not None
        assert 0 <= found - (-5000 + charged - used) < 1
        assert link.call("HGET", job_key(claim.job.id), "reserved") is None
        link.call("DEL", f"{P}bucket:tpm:small")


def test_lost_attempt_gives_its_tokens_back(link: RedisLink) -> None:
    """A lost lease and a hand-back return the estimate, and the next attempt reserves it again."""
    job = submit(link, model="small")
    worker = HandWorker(link)
    worker.claims.hand_back(job.id, worker.take(SMALL).fence, counts=False)
    assert left(link, "tpm", SMALL) is None
    claim = worker.take(SMALL)
    assert left(link, "tpm", SMALL) is not None
    age(link, job.id, leased_until_ms=1)
    keep(link)
    keep(link)
    assert claim.job.id == job.id
    assert link.call("HGET", job_key(job.id), "reserved") is None
    assert left(link, "tpm", SMALL) is None


def test_limit_that_is_removed(link: RedisLink) -> None:
    """A changed limit holds from the next claim."""
    for _ in range(9):
        submit(link, model="slow")
    worker = HandWorker(link)
    while worker.claim(SLOW) is not None:
        pass
    assert worker.claim(Model(name="slow", backend="openai")) is not None


def test_waiting_job_says_why(link: RedisLink) -> None:
    """A job that waits for the rate of its model is told until when."""
    model = Model(name="slow", backend="openai", rpm=1)
    jobs = [submit(link, model="slow") for _ in range(2)]
    HandWorker(link).take(model)
    _facts, found = store_of(link).look_queue("slow", [jobs[1].id])
    assert found[jobs[1].id].reason is Reason.RATE_LIMIT
    assert found[jobs[1].id].detail is not None
