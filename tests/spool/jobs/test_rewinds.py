"""Redis comes back without its last second: what living workers send again, and how a log goes on without them."""

from __future__ import annotations

from typing import Any

import pytest

from spool.jobs.claims import SENT_UNKNOWN, Claim
from spool.jobs.entries import Kind
from spool.jobs.job import OnWorkerLoss, Status
from spool.jobs.scripts import script
from spool.keys import job as job_key
from spool.keys import prefix
from spool.redis.link import RedisLink
from tests.by_hand import (
    OWNER,
    SUCCEEDED,
    HandWorker,
    age,
    done,
    keep,
    kinds_of,
    log_of,
    record,
    restart,
    settle,
    shards_of,
    store_of,
    submit,
    text_of,
    tokens,
)
from tests.saved import Saved

JUMP = 100_000


@pytest.fixture
def worker(link: RedisLink) -> HandWorker:
    """A worker that Redis has heard of."""
    worker = HandWorker(link)
    worker.beat()
    return worker


def ids_of(link: RedisLink, claim: Claim) -> list[int]:
    """The ids of a job's log."""
    return [entry.id for entry in log_of(link, claim.job.id)]


def assert_jumped(last: int, to: int) -> None:
    """A jump from ``last`` goes far ahead, to a round number."""
    assert to - last >= 500_000
    assert to % JUMP == 0


def server(link: RedisLink) -> str:
    """The run of the real server, as a heartbeat of all shards reports it."""
    lines = link.call("INFO", "server").decode().splitlines()
    run_id = next(line.partition(":")[2] for line in lines if line.startswith("run_id:"))
    return " ".join([run_id] * len(shards_of(link)))


def test_heartbeat_tells_what_is_missing(link: RedisLink, worker: HandWorker) -> None:
    """A log that lost entries is sent again from there, under the same ids, and is whole then."""
    submit(link)
    claim = worker.take()
    worker.append(claim, 2, tokens(2, "a", "b"), text="ab")
    saved = Saved(link)
    worker.append(claim, 4, tokens(4, "c"), text="c")
    saved.restore()
    assert worker.beat(claim, acked=4) == [3]
    assert record(link, claim.job.id)["server"] != server(link)
    assert worker.append(claim, 4, tokens(4, "c"), text="c") == 4
    assert worker.beat(claim, acked=4, server=server(link)) == [b"whole"]
    assert record(link, claim.job.id)["server"] == server(link).split()[0]
    assert text_of(link, claim.job.id) == "abc"


def test_lost_claim_is_adopted(link: RedisLink, worker: HandWorker) -> None:
    """A job whose claim was lost is given back to the worker that runs it, with the very entry that readers saw."""
    submit(link)
    saved = Saved(link)
    claim = worker.take()
    opening = log_of(link, claim.job.id)
    worker.say(claim, "a")
    saved.restore()
    assert worker.append(claim, 3, tokens(3, "b"), text="b") == b"unclaimed"
    assert worker.beat(claim, acked=2) == [b"unclaimed"]
    assert worker.claims.adopt(claim) == 1
    assert worker.claims.adopt(claim) == 1
    assert log_of(link, claim.job.id) == opening
    assert worker.append(claim, 2, tokens(2, "a", "b"), text="ab") == 3
    assert (record(link, claim.job.id)["status"], text_of(link, claim.job.id)) == ("running", "ab")
    assert keep(link, lease_ms=60_000) == [0, 0, 0, 0, 0, 0]


def test_lost_claim_that_somebody_else_has(link: RedisLink, worker: HandWorker) -> None:
    """A job that another worker has begun meanwhile stays that one's, and its log jumps: readers may have seen more."""
    submit(link)
    saved = Saved(link)
    claim = worker.take()
    worker.say(claim, "a")
    saved.restore()
    keep(link)
    settle(link)
    other = HandWorker(link, name="other").take()
    assert worker.claims.adopt(claim) == b"lost"
    assert other.job.id == claim.job.id
    assert_jumped(0, other.first - 1)
    assert kinds_of(link, claim.job.id) == ["restarted"]


def test_lost_claim_of_a_cancelled_job(link: RedisLink, worker: HandWorker) -> None:
    """A job that was cancelled meanwhile stays so."""
    submit(link)
    saved = Saved(link)
    claim = worker.take()
    saved.restore()
    store_of(link).cancel(claim.job.id, OWNER)
    assert worker.claims.adopt(claim) == b"cancelled"


def test_lost_end_is_sent_again(link: RedisLink, worker: HandWorker) -> None:
    """An end that was lost is written again under the same id."""
    submit(link)
    claim = worker.take()
    saved = Saved(link)
    worker.append(claim, 2, [*tokens(2, "a"), done(3)], text="a", ending=SUCCEEDED)
    saved.restore()
    assert worker.beat(claim, acked=3) == [1]
    assert worker.append(claim, 2, [*tokens(2, "a"), done(3)], text="a", ending=SUCCEEDED) == 3
    assert record(link, claim.job.id)["status"] == "succeeded"
    assert worker.beat(claim, acked=3) == [b"lost"]


def test_claims_wait_for_workers_to_be_heard(link: RedisLink, worker: HandWorker) -> None:
    """Just after a restart nobody claims, until every worker has said that nothing it had claimed is missing."""
    submit(link)
    restart(link)
    assert worker.claim() is None
    worker.beat()
    assert worker.claim() is None
    worker.beat(server=server(link))
    claim = worker.take()
    assert (claim.first, kinds_of(link, claim.job.id)) == (2, ["started"])


@pytest.mark.one_shard
def test_worker_with_an_unclaimed_job_is_not_heard(link: RedisLink, worker: HandWorker) -> None:
    """A worker counts as heard only once all that it had claimed is there again."""
    submit(link)
    saved = Saved(link)
    claim = worker.take()
    saved.restore()
    worker.beat(claim, server=server(link))
    assert link.call("SMEMBERS", f"{prefix(0)}unheard") == [b"hand"]
    worker.claims.adopt(claim)
    worker.beat(claim, server=server(link))
    assert link.call("SMEMBERS", f"{prefix(0)}unheard") == []


@pytest.mark.usefixtures("worker")
def test_new_jobs_do_not_jump(link: RedisLink) -> None:
    """A job that was submitted after the restart cannot have lost anything, whoever is missing."""
    restart(link)
    keep(link)
    settle(link)
    submit(link)
    other = HandWorker(link, name="other")
    assert other.take().first == 2


def test_next_attempt_after_lost_history_jumps(link: RedisLink, worker: HandWorker) -> None:
    """Worker and last second both gone: the next attempt begins anew, with ids far beyond what readers saw."""
    submit(link, continuable=True)
    claim = worker.take()
    worker.say(claim, "a")
    restart(link)
    age(link, claim.job.id, leased_until_ms=1)
    keep(link)
    settle(link)
    second = HandWorker(link, name="other").take()
    assert second.prefix == ""
    entries = log_of(link, claim.job.id)
    assert [entry.id for entry in entries] == [1, 2, second.first - 1]
    assert_jumped(2, second.first - 1)
    assert entries[-1].kind is Kind.RESTARTED
    assert dict(entries[-1].fields) == {"attempt": 2, "reason": "redis_lost_history"}
    assert record(link, claim.job.id)["attempt_first"] == str(second.first - 1)
    assert "torn" not in record(link, claim.job.id)


def test_next_attempt_after_a_restart_that_lost_nothing(link: RedisLink, worker: HandWorker) -> None:
    """A worker that was heard after the restart and dies later: the answer goes on as ever."""
    submit(link, continuable=True)
    claim = worker.take()
    worker.say(claim, "a")
    restart(link)
    worker.beat(claim, acked=2, server=server(link))
    age(link, claim.job.id, leased_until_ms=1)
    keep(link)
    second = HandWorker(link, name="other").take()
    assert (second.prefix, second.first) == ("a", 4)
    assert kinds_of(link, claim.job.id) == ["started", "token", "continued"]


def end_by_deadline(link: RedisLink, job_id: str) -> None:
    age(link, job_id, deadline_ms=1)
    keep(link)


def end_by_cancel(link: RedisLink, job_id: str) -> None:
    store_of(link).cancel(job_id, OWNER)
    age(link, job_id, leased_until_ms=1)
    keep(link)


def end_by_last_attempt(link: RedisLink, job_id: str) -> None:
    age(link, job_id, leased_until_ms=1)
    keep(link, max_attempts=1)


@pytest.mark.parametrize("end", [end_by_deadline, end_by_cancel, end_by_last_attempt])
def test_end_after_lost_history_jumps(link: RedisLink, worker: HandWorker, end: Any) -> None:
    """An end that nobody's worker writes stands behind an announced jump: a reader who saw more still gets it."""
    submit(link)
    claim = worker.take()
    worker.say(claim, "a")
    restart(link)
    end(link, claim.job.id)
    ids = ids_of(link, claim)
    assert ids == [1, 2, ids[2], ids[2] + 1]
    assert_jumped(2, ids[2])
    assert kinds_of(link, claim.job.id)[2:] in (["restarted", "failed"], ["restarted", "cancelled"])
    assert text_of(link, claim.job.id) == ""


def test_job_that_may_not_begin_anew_after_lost_history(link: RedisLink, worker: HandWorker) -> None:
    """Where text cannot be unsaid, lost history ends the job."""
    submit(link, on_worker_loss=OnWorkerLoss.FAIL, continuable=True)
    claim = worker.take()
    worker.say(claim, "a")
    restart(link)
    age(link, claim.job.id, leased_until_ms=1)
    keep(link)
    assert store_of(link).look(claim.job.id, OWNER).status is Status.FAILED


@pytest.mark.usefixtures("worker")
def test_jump_is_far_from_every_id(link: RedisLink) -> None:
    """From wherever a log was cut, the jump goes at least half a million ids ahead, to a round number."""
    for last in (0, 57, 499_999, 500_000, 500_001, 1_499_999, 2_000_000):
        job = submit(link)
        link.call("HSET", job_key(job.id), "last", last)
        restart(link)
        keep(link)
        settle(link)
        first = HandWorker(link, name="other").take_job(job.id).first - 1
        assert_jumped(last, first)


def test_jump_of_an_old_job(link: RedisLink, worker: HandWorker) -> None:
    """The ids after a jump stay whole numbers that every reader can take, for jobs of any age."""
    job = submit(link)
    link.call("HSET", job_key(job.id), "created_ms", 1)
    restart(link)
    worker.beat(server=server(link))
    end_by_cancel(link, job.id)
    assert log_of(link, job.id)[-1].kind is Kind.CANCELLED
    new = submit(link)
    link.call("HSET", job_key(new.id), "created_ms", 1, "torn", 1)
    claim = worker.take()
    assert claim.first - 1 == 90_000_000_500_000
    assert worker.say(claim, "a") == claim.first
    assert ids_of(link, claim) == [claim.first - 1, claim.first]


def test_attempt_that_was_given_up_and_lost(link: RedisLink, worker: HandWorker) -> None:
    """A worker that lives says so of an attempt that it handed back and Redis has lost: the next one jumps."""
    submit(link)
    saved = Saved(link)
    claim = worker.take()
    worker.say(claim, "a")
    worker.claims.hand_back(claim.job.id, claim.fence, counts=False)
    saved.restore()
    assert worker.beat(claim) == [b"unclaimed"]
    worker.claims.disown(claim)
    worker.beat(server=server(link))
    assert_jumped(0, worker.take().first - 1)


def test_attempt_that_was_given_up_and_is_known(link: RedisLink, worker: HandWorker) -> None:
    """Where Redis knows of the attempt, its job goes on as ever."""
    submit(link)
    claim = worker.take()
    worker.claims.hand_back(claim.job.id, claim.fence, counts=False)
    worker.claims.disown(claim)
    assert worker.take().first == 3


def go_on_elsewhere(link: RedisLink, _job_id: str) -> None:
    settle(link)
    keep(link)
    HandWorker(link, name="third").take()


def end_of_lease(link: RedisLink, job_id: str) -> None:
    age(link, job_id, leased_until_ms=1)
    go_on_elsewhere(link, job_id)


@pytest.mark.parametrize("next_entry", [end_by_deadline, end_by_cancel, end_by_last_attempt, end_of_lease])
def test_hand_back_that_was_lost_with_the_next_attempt(link: RedisLink, worker: HandWorker, next_entry: Any) -> None:
    """A worker that asks about a job which it gave up does not say that the log is whole: another one may have gone on
    with it, and been read, before Redis lost both."""
    submit(link, continuable=True)
    claim = worker.take()
    worker.say(claim, "a")
    saved = Saved(link)
    worker.claims.hand_back(claim.job.id, claim.fence, counts=False)
    other = HandWorker(link, name="other")
    second = other.take()
    other.say(second, "b")
    saved.restore()
    for run in ("", server(link)):
        assert other.beat(second, acked=4, sent=4, server=run) == [b"lost"]
        assert worker.beat(claim, acked=0, sent=SENT_UNKNOWN, server=run) == [b"ok"]
    next_entry(link, claim.job.id)
    ids = ids_of(link, claim)
    assert ids[:2] == [1, 2]
    assert_jumped(2, ids[2])


def test_hand_back_that_is_asked_for_again(link: RedisLink, worker: HandWorker) -> None:
    """Redis lost a hand-back whose answer had not come, with what another worker went on with: the same call, sent
    again, gives the job up with a jump, whatever the worker's heartbeats have said meanwhile."""
    submit(link, continuable=True)
    claim = worker.take()
    worker.say(claim, "a")
    saved = Saved(link)
    worker.claims.hand_back(claim.job.id, claim.fence, counts=False)
    HandWorker(link, name="other").take()
    saved.restore()
    for run in ("", server(link)):
        worker.beat(claim, acked=2, sent=SENT_UNKNOWN, server=run)
    assert worker.claims.hand_back(claim.job.id, claim.fence, counts=False) == "queued"
    assert_jumped(2, worker.take().first - 1)


def test_heartbeat_that_was_on_its_way(link: RedisLink, worker: HandWorker) -> None:
    """What a worker said before it met this run of Redis does not make a log a whole one: since then it may have sent
    more, or given the job up."""
    submit(link)
    claim = worker.take()
    restart(link)
    assert worker.beat(claim, sent=1, server="an earlier one") == [b"ok"]
    assert record(link, claim.job.id)["server"] != server(link)
    assert worker.beat(claim, sent=1, server=server(link)) == [b"whole"]
    assert record(link, claim.job.id)["server"] == server(link).split()[0]


@pytest.mark.one_shard
def test_logs_of_a_worker_that_has_many(link: RedisLink, worker: HandWorker) -> None:
    """Jobs that take several calls are known to be whole all the same, and make their worker heard only together."""
    ids = [submit(link).id for _ in range(120)]
    saved = Saved(link)
    claims = [worker.take() for _ in ids]
    saved.restore()
    assert worker.beat(*claims, server=server(link)) == [b"unclaimed"] * 120
    for claim in claims[1:]:
        worker.claims.adopt(claim)
    worker.beat(*claims, server=server(link))
    assert link.call("SMEMBERS", f"{prefix(0)}unheard") == [b"hand"]
    worker.claims.adopt(claims[0])
    assert worker.beat(*claims, server=server(link)) == [b"whole"] * 120
    assert link.call("SMEMBERS", f"{prefix(0)}unheard") == []
    assert {record(link, job_id)["server"] for job_id in ids} == {server(link).split()[0]}


def test_entry_that_was_sent_and_not_confirmed(link: RedisLink, worker: HandWorker) -> None:
    """A log is not known to be whole while its worker has sent more than is there: readers may have seen that."""
    submit(link)
    claim = worker.take()
    restart(link)
    assert worker.beat(claim, sent=2, server=server(link)) == [b"ok"]
    assert record(link, claim.job.id)["server"] != server(link)
    worker.append(claim, 2, tokens(2, "a"), text="a")
    assert worker.beat(claim, acked=2, sent=2, server=server(link)) == [b"whole"]
    assert record(link, claim.job.id)["server"] == server(link).split()[0]


def test_record_of_a_version_without_server(link: RedisLink, worker: HandWorker) -> None:
    """A job that an earlier version accepted has no ``server``: it is run as it always was."""
    job = submit(link)
    link.call("HDEL", job_key(job.id), "server")
    link.call("HSET", f"{prefix(0)}server", "run_id", "an earlier one")
    link.run(script("heartbeat"), 0, 1000, "somebody", 0, "")
    settle(link)
    assert worker.take().first == 2
