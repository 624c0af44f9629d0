"""Models that an upstream refuses: what waits, which job is tried, and when the model opens."""

from __future__ import annotations

from spool.jobs.claims import Claim
from spool.jobs.closed_models import ClosedModels, Refusal
from spool.jobs.job import Status
from spool.keys import job as job_key
from spool.keys import prefix
from spool.models.model import DEMO, Model
from spool.redis.link import RedisLink
from tests.by_hand import OWNER, HandWorker, kinds_of, shards_of, store_of, submit

P = prefix(0)
OTHER = Model(name="other", backend="openai")


def refuse(link: RedisLink, claim: Claim, **more: object) -> Refusal:
    """Report that the upstream refused this attempt, and hand it back."""
    refusal = ClosedModels(shards_of(link)).refuse(claim, "HTTP 429: slow down", **{"status": 429, **more})  # type: ignore[arg-type]
    HandWorker(link).claims.hand_back(
        claim.job.id, claim.fence, counts=False, reason="upstream_refused", again_ms=refusal.again_ms
    )
    return refusal


def accept(link: RedisLink, claim: Claim) -> None:
    """Report that the upstream accepted this attempt."""
    ClosedModels(shards_of(link)).accept(claim)


def reopen(link: RedisLink, model: str = DEMO.name) -> None:
    """Let the time pass until the model's next jobs may be tried."""
    link.call("HSET", f"{P}closed:{model}", "until_ms", 1)


def test_closed_model_keeps_its_jobs_in_the_queue(link: RedisLink) -> None:
    """A refused job waits in the queue like all others of its model, at no cost; jobs of another model begin."""
    jobs = [submit(link).id for _ in range(3)]
    worker = HandWorker(link)
    refuse(link, worker.take())
    submit(link, model="other")
    assert worker.take(DEMO, OTHER).job.model == "other"
    assert worker.claim(DEMO, OTHER) is None
    assert store_of(link).look(jobs[0], OWNER).status is Status.QUEUED
    assert store_of(link).look(jobs[0], OWNER).losses == 0
    assert kinds_of(link, jobs[0]) == ["started"]


def test_one_job_is_tried_over_all_workers(link: RedisLink) -> None:
    """After the pause one job is tried, whichever worker asks, and each that is accepted lets two more be tried."""
    for _ in range(8):
        submit(link)
    workers = [HandWorker(link, name=f"w{number}") for number in range(3)]
    refuse(link, workers[0].take())
    reopen(link)
    probes = [claim for worker in workers if (claim := worker.claim()) is not None]
    assert len(probes) == 1
    accept(link, probes[0])
    probes = [claim for worker in workers if (claim := worker.claim()) is not None]
    assert len(probes) == 2
    assert all(probe.probe for probe in probes)


def test_model_opens_after_enough_accepted_jobs(link: RedisLink) -> None:
    """The model is open once as many jobs were accepted as may be tried at a time; then nothing of it is left."""
    for _ in range(40):
        submit(link)
    worker = HandWorker(link)
    refuse(link, worker.take())
    reopen(link)
    accepted = 0
    while link.call("EXISTS", f"{P}closed:demo"):
        accept(link, worker.take())
        accepted += 1
    assert accepted == 32
    assert worker.take().probe == ""
    assert link.call("EXISTS", f"{P}closed-models", f"{P}probes:demo") == 0


def test_refusal_halves_what_is_tried(link: RedisLink) -> None:
    """A refusal while several jobs are tried closes the model again, and halves their number."""
    for _ in range(20):
        submit(link)
    worker = HandWorker(link)
    refuse(link, worker.take())
    reopen(link)
    for _ in range(7):
        accept(link, worker.take())
    refuse(link, worker.take())
    assert worker.claim() is None
    reopen(link)
    tried = 0
    while worker.claim() is not None:
        tried += 1
    assert tried == 4


def test_calls_on_their_way_do_not_add_up(link: RedisLink) -> None:
    """Jobs that had begun before the model closed are refused too; the pause stays the same, unless the upstream asks
    for a longer one."""
    for _ in range(5):
        submit(link)
    worker = HandWorker(link)
    first, second, third = worker.take(), worker.take(), worker.take()
    until = refuse(link, first).retry_at
    assert refuse(link, second).retry_at == until
    assert refuse(link, third, retry_after_s=30.0).retry_at > until + 20


def test_longer_outage_has_longer_pauses(link: RedisLink) -> None:
    """The pause is a second at first, then a twelfth of the time since the model closed, and at most a minute."""
    submit(link)
    worker, key = HandWorker(link), f"{P}closed:demo"
    refuse(link, worker.take())
    pauses = []
    for outage_s in (0, 20, 120, 86_400):
        reopen(link)
        now_ms = int(float(link.call("TIME")[0]) * 1000)
        link.call("HSET", key, "since_ms", now_ms - outage_s * 1000)
        retry_at = refuse(link, worker.take()).retry_at
        pauses.append(retry_at - now_ms / 1000)
    for pause, expected in zip(pauses, (1, 20 / 12, 10, 60), strict=True):
        assert expected <= pause < expected + 1.5


def test_other_jobs_are_tried_before_one_that_was_refused_again(link: RedisLink) -> None:
    """The first refusal keeps a job's place. After another one the next job is tried, since the prompt may be the
    cause; without other jobs it is tried again."""
    first, second = submit(link).id, submit(link).id
    worker = HandWorker(link)
    refuse(link, worker.take())
    reopen(link)
    again = worker.take()
    assert again.job.id == first
    assert refuse(link, again).again_ms > 0
    reopen(link)
    assert worker.take().job.id == second
    link.call("DEL", f"{P}probes:demo")
    assert worker.take().job.id == first
    assert kinds_of(link, first) == ["started", "restarted", "restarted"]


def test_refusal_of_one_job_while_others_are_answered(link: RedisLink) -> None:
    """A job that is refused again while others were answered concerns itself alone: the model stays open."""
    first, second = submit(link).id, submit(link).id
    worker = HandWorker(link)
    refuse(link, worker.take())
    link.call("DEL", f"{P}closed:demo")
    again = worker.take()
    link.call("HSET", job_key(first), "refused_ms", 1)
    refusal = refuse(link, again, answered_s=0.0)
    assert (again.job.id, refusal.is_own, refusal.refusals) == (first, True, 2)
    assert worker.take().job.id == second
    assert link.call("EXISTS", f"{P}closed:demo") == 0
    assert worker.claim() is None, "it waits for its own pause, although no other job is left"


def test_exhausted_upstream_opens_at_once(link: RedisLink) -> None:
    """An upstream that says by its headers that nothing is left is closed until then, and fully open afterwards."""
    for _ in range(4):
        submit(link)
    worker = HandWorker(link)
    ClosedModels(shards_of(link)).refuse(worker.take(), "no requests left", kind="exhausted", retry_after_s=5.0)
    assert worker.claim() is None
    reopen(link)
    assert sum(worker.claim() is not None for _ in range(3)) == 3


def test_refused_job_can_be_cancelled(link: RedisLink) -> None:
    """A job that was refused again is cancelled like any other, and leaves no key behind."""
    job = submit(link).id
    worker = HandWorker(link)
    for _ in range(2):
        refuse(link, worker.take())
        reopen(link)
    assert link.call("ZCARD", f"{P}retries:demo") == 1
    store_of(link).cancel(job, OWNER)
    assert link.call("EXISTS", f"{P}retries:demo", f"{P}pending:demo") == 0


def test_closed_models_are_shown(link: RedisLink) -> None:
    """Which models are closed, why, since when and until when."""
    submit(link)
    models = ClosedModels(shards_of(link))
    assert models.look() == {}
    until = refuse(link, HandWorker(link).take()).retry_at
    closed = models.look()["demo"]
    assert (closed.status, closed.reason, closed.until) == (429, "HTTP 429: slow down", until)
    assert closed.since < until
