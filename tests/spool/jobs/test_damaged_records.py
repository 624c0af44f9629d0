"""Records that are damaged, or that a newer version wrote: each stops its own job and no other."""

from __future__ import annotations

import logging
import random
from datetime import UTC, datetime, timedelta

import pytest

from spool.errors import RecordNewer
from spool.jobs.job import SCHEMA, Status
from spool.jobs.keeper import Keeper
from spool.jobs.scripts import script
from spool.jobs.shards import Shard
from spool.jobs.usage import UsageLedger
from spool.keys import job as job_key
from spool.keys import prefix
from spool.models.model import DEMO
from spool.redis.link import RedisLink
from tests.by_hand import OWNER, HandWorker, age, keep, kinds_of, log_of, new_job, record, shards_of, store_of, submit
from tests.damage.trial import STATES, Trial

SLICE = 2
"""Mutations of each state here; ``tests/faults/test_damaged_records.py`` has them all."""


@pytest.mark.parametrize("state", STATES)
def test_anything_wrong_with_one_job_is_its_own(link: RedisLink, state: str) -> None:
    """Some of all that can be wrong with a job's keys, in each state: no script fails, jobs beside it end as ever."""
    chosen = random.Random(state).sample(range(len(Trial(link, state).mutations())), SLICE)
    for number in chosen:
        trial = Trial(link, state)
        # Their number depends a little on how jobs beside it stand.
        known = trial.mutations()
        mutation = known[min(number, len(known) - 1)]
        assert trial.run(mutation, random.Random(number)) == [], f"{state}: {mutation.name}, seed {number}"


def test_damaged_job_ends_and_says_why(link: RedisLink) -> None:
    """A queued job without its last entry's id ends when a claim meets it, and the job behind it is claimed at once."""
    broken, behind = submit(link), submit(link)
    link.call("HDEL", job_key(broken.id), "last")
    assert HandWorker(link).take().job.id == behind.id
    job = store_of(link).look(broken.id, OWNER)
    assert job.error is not None
    assert (job.status, job.error["code"]) == (Status.FAILED, "record_damaged")
    assert "last is missing" in job.error["message"]
    assert kinds_of(link, broken.id) == ["failed"]


def test_claim_displaces_what_is_in_the_place_of_the_run(link: RedisLink) -> None:
    """What every claim reads first is displaced if Spool did not write it."""
    job = submit(link)
    link.call("DEL", f"{prefix(0)}server")
    link.call("SET", f"{prefix(0)}server", "x")
    assert HandWorker(link).take().job.id == job.id
    assert link.call("TYPE", f"{prefix(0)}server") == b"hash"


def test_damage_is_said_once(link: RedisLink, caplog: pytest.LogCaptureFixture) -> None:
    """The process that keeps the shard names a damaged job in one line, however often it is met."""
    broken = submit(link)
    link.call("HSET", job_key(broken.id), "attempt", "many")
    keeper = Keeper(Shard(0, link), lambda: None, lease_s=10, max_attempts=3)
    with caplog.at_level(logging.ERROR, "spool.keeper"):
        for _ in range(3):
            HandWorker(link).claim()
            keeper.beat()
    assert [line.count(broken.id) for line in caplog.messages] == [1]


def test_many_damaged_jobs_ahead(link: RedisLink) -> None:
    """One claim passes a queue's head of damaged jobs, whatever their number, and gets the job behind them."""
    for _ in range(120):
        link.call("HDEL", job_key(submit(link).id), "status")
    behind = submit(link)
    assert HandWorker(link).take().job.id == behind.id
    assert link.call("ZCARD", f"{prefix(0)}deadlines") == 1


def test_record_that_is_no_hash_is_set_aside(link: RedisLink) -> None:
    """What cannot even be read as a record leaves every index, is counted, and ends when its owner asks for it."""
    broken = submit(link)
    link.call("SET", job_key(broken.id), "no record")
    assert HandWorker(link).claim() is None
    store = store_of(link)
    assert store.set_aside() == 1
    assert link.call("ZCARD", f"{prefix(0)}deadlines") == 0
    job = store.look(broken.id, OWNER)
    assert (job.status, job.error and job.error["code"]) == (Status.FAILED, "record_damaged")
    assert store.set_aside() == 0


def test_end_that_was_written_counts(link: RedisLink) -> None:
    """A job whose terminal entry is there, and whose record broke with it, has that end and no other."""
    submit(link)
    worker = HandWorker(link)
    claim = worker.take()
    link.call("HSET", job_key(claim.job.id), "ttl_s", "long")
    worker.finish(claim)
    assert kinds_of(link, claim.job.id) == ["started", "done"]
    assert record(link, claim.job.id)["status"] == "succeeded"


def test_job_of_a_newer_version_is_left_alone(link: RedisLink) -> None:
    """Jobs that a newer version wrote wait for it: they are not ended, hold up no claim, and web says so."""
    newer = [submit(link) for _ in range(120)]
    for job in newer:
        link.call("HSET", job_key(job.id), "schema", SCHEMA + 1, "status", "paused")
        age(link, job.id, deadline_ms=1)
    behind = submit(link)
    assert HandWorker(link).take().job.id == behind.id
    assert keep(link) == [0, 0, 0, 0, 0, 0]
    assert link.call("ZCARD", f"{prefix(0)}newer:{SCHEMA + 1}:pending:demo") == 120
    with pytest.raises(RecordNewer):
        store_of(link).look(newer[0].id, OWNER)
    with pytest.raises(RecordNewer):
        store_of(link).cancel(newer[0].id, OWNER)


def test_newer_version_claims_what_was_left_for_it(link: RedisLink) -> None:
    """A claim of a version that reads the schema gets such jobs, in their order among the others."""
    jobs = [submit(link) for _ in range(3)]
    for job in jobs[:2]:
        link.call("HSET", job_key(job.id), "schema", SCHEMA + 1)
    assert HandWorker(link).take().job.id == jobs[2].id
    last = submit(link)
    answers = [
        link.run(script("claim", SCHEMA + 1), 0, f"f{n}", 1000, "newer", "any", 1, 0.2, 20, DEMO.name, 0)
        for n in range(3)
    ]
    assert [answer[0].decode() for answer in answers] == [jobs[0].id, jobs[1].id, last.id]
    assert link.call("EXISTS", f"{prefix(0)}newer:{SCHEMA + 1}:pending:demo") == 0


def test_job_of_another_endpoint_waits_for_a_worker_that_knows_it(link: RedisLink) -> None:
    """A worker of the version before would send it as a chat: it leaves it alone, and takes the job behind it."""
    embeds = submit(link, input={"messages": [], "params": {"input": ["a"]}, "endpoint": "embeddings"})
    chats = submit(link)
    before = int(link.call("HGET", job_key(embeds.id), "schema")) - 1
    older = link.run(script("claim", before), 0, "f1", 1000, "older", "any", 1, 0.2, 20, DEMO.name, 0)
    assert older[0].decode() == chats.id
    assert HandWorker(link).take().job.id == embeds.id


def test_index_of_another_type_is_filled_again(link: RedisLink) -> None:
    """A queue that something else overwrote is there again after a keeper's rounds, in its order."""
    jobs = [submit(link) for _ in range(5)]
    for name in ("pending:demo", "heads:interactive:demo", f"flow:interactive:{OWNER}::demo", "deadlines"):
        link.call("SET", f"{prefix(0)}{name}", "no index")
    worker = HandWorker(link)
    assert worker.claim() is None
    keep(link)
    keep(link)
    assert [worker.take().job.id for _ in jobs] == [job.id for job in jobs]
    assert link.call("ZCARD", f"{prefix(0)}deadlines") == 5
    assert link.call("GET", f"{prefix(0)}displaced:pending:demo") == b"no index"


def test_index_that_was_deleted_is_filled_again(link: RedisLink) -> None:
    """A queue that something else deleted is there again once the keeper has come past its jobs."""
    jobs = [submit(link) for _ in range(5)]
    link.call("DEL", f"{prefix(0)}pending:demo", f"{prefix(0)}deadlines")
    for _ in range(3):
        keep(link)
    worker = HandWorker(link)
    assert [worker.take().job.id for _ in jobs] == [job.id for job in jobs]


def test_replay_of_a_damaged_job(link: RedisLink) -> None:
    """An Idempotency-Key leads to its job also where that had to end because its record is damaged."""
    store = store_of(link)
    new = new_job(idempotency_key="key", body_digest="digest")
    store.submit(new, max_queued=9)
    link.call("HDEL", job_key(new.id), "deadline_ms")
    again = store.submit(new_job(idempotency_key="key", body_digest="digest"), max_queued=9)
    assert (again.job.id, again.job.status, again.replayed) == (new.id, Status.FAILED, True)
    assert log_of(link, new.id)[-1].fields["error"]["code"] == "record_damaged"


def test_log_that_is_left_of_a_lost_record(link: RedisLink) -> None:
    """A submit that is repeated after its job's record was lost begins a log of its own."""
    worker, new = HandWorker(link), new_job()
    job = store_of(link).submit(new, max_queued=9).job
    claim = worker.take()
    worker.say(claim, "spoken ", "words")
    link.call("DEL", job_key(job.id))
    assert store_of(link).submit(new, max_queued=9).job.id == job.id
    worker.claims.adopt(claim)
    assert kinds_of(link, job.id) == ["started"]
    assert worker.finish(claim)


def test_number_of_a_damaged_log_is_no_use(link: RedisLink) -> None:
    """A job whose log ends at a number far beyond its entries costs its owner and its model what it has, no more."""
    worker = HandWorker(link)
    job = submit(link)
    worker.say(worker.take(), "spoken ", "words")
    link.pipeline_each(
        [("HSET", job_key(job.id), "last", 900_000), ("XADD", f"{job_key(job.id)}:log", "900000-0", "a", "b")]
    )
    store_of(link).cancel(job.id, OWNER)
    age(link, job.id, leased_until_ms=1)
    keep(link, lease_ms=60_000)
    today = datetime.now(UTC).date()
    rows = UsageLedger(shards_of(link)).rows([OWNER], today - timedelta(days=1), today + timedelta(days=1))
    assert 0 < sum(row.figures.output_tokens for row in rows) < 10
