"""The usage of attempts: each counts once, however it ends; and budgets that it uses up."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import orjson
import pytest

from spool.errors import QuotaExceeded
from spool.jobs.claims import Claim
from spool.jobs.entries import rfc3339
from spool.jobs.job import Job
from spool.jobs.owner_limits import OwnerLimits
from spool.jobs.submission import NewBatch, quota_exceeded
from spool.jobs.usage import Figures, Row, UsageLedger, grouped
from spool.keys import job as job_key
from spool.keys import prefix
from spool.owners.limits import Budget
from spool.redis.link import RedisLink
from tests.by_hand import (
    OWNER,
    HandWorker,
    age,
    done,
    keep,
    new_job,
    record,
    restart,
    settle,
    shards_of,
    store_of,
    submit,
    tokens,
)

P = prefix(0)
DAY = timedelta(days=1)


def rows(link: RedisLink, *owners: str) -> list[Row]:
    """The usage of these owners about today: the day may change during a test."""
    today = datetime.now(UTC).date()
    return list(UsageLedger(shards_of(link)).rows(owners or [OWNER], today - DAY, today + DAY))


def total(link: RedisLink, owner: str = OWNER) -> Figures:
    """All that an owner has used, without the time."""
    return replace(sum((row.figures for row in rows(link, owner)), Figures()), ms=0)


def prompt_tokens(link: RedisLink, job: Job) -> int:
    """The estimate for a job's prompt."""
    return -(-int(link.call("STRLEN", f"{job_key(job.id)}:input")) // 4)


def finish(worker: HandWorker, claim: Claim, status: str = "succeeded", **usage: int) -> None:
    """End a job with this usage; none if it is empty."""
    first = int(record(worker.link, claim.job.id)["last"]) + 1
    end: dict[str, Any] = {"status": status} | ({"usage": usage} if usage else {})
    assert worker.append(claim, first, [done(first)], ending=orjson.dumps(end)) == first


def test_usage_of_the_upstream(link: RedisLink) -> None:
    """An end with usage notes that, by owner, model and day."""
    worker = HandWorker(link)
    for owner in (OWNER, OWNER, "bob"):
        submit(link, owner=owner)
        finish(worker, worker.take(), input_tokens=10, output_tokens=90)
    assert total(link) == Figures(20, 180, 2, 2)
    found = rows(link, OWNER, "bob", "nobody")
    assert {(row.owner, row.credential, row.model) for row in found} == {(OWNER, "", "demo"), ("bob", "", "demo")}
    assert UsageLedger(shards_of(link)).owners(date(2026, 1, 1), datetime.now(UTC).date() + DAY) == [OWNER, "bob"]


@pytest.mark.one_shard
def test_credential_of_a_job(link: RedisLink) -> None:
    """Usage is noted under the credential that the record names; the owner's sums have all."""
    worker = HandWorker(link)
    for credential in ("k1", "k1", "k2"):
        job = submit(link)
        link.call("HSET", job_key(job.id), "credential", credential)
        finish(worker, worker.take(), input_tokens=1, output_tokens=2)
    found = grouped(rows(link), ["credential"])
    assert {key: figures.jobs for key, figures in found.items()} == {("k1",): 2, ("k2",): 1}
    (key,) = link.call("KEYS", f"{P}usage:{OWNER}:*") or [b""]
    assert [int(link.call("HGET", key, name)) for name in ("month", "month k1", "month k2")] == [9, 6, 3]


def test_usage_without_a_word_of_the_upstream(link: RedisLink) -> None:
    """Without usage, an attempt's tokens are its entries, or a quarter of its text's bytes if that is more."""
    worker = HandWorker(link)
    for texts in (["a"] * 7, ["a" * 100]):
        job = submit(link)
        claim = worker.take()
        worker.say(claim, *texts)
        before = total(link)
        finish(worker, claim)
        now, expected = total(link), max(len(texts), len("".join(texts)) // 4)
        assert now == before + Figures(prompt_tokens(link, job), expected, 1, 1)


@pytest.mark.parametrize("ending", ["cancelled", "failed", "overdue", "worker lost"])
def test_partial_answer(link: RedisLink, ending: str) -> None:
    """A job that is cancelled, fails, or loses its worker for good has used what its log shows."""
    job, worker = submit(link), HandWorker(link)
    claim = worker.take()
    worker.say(claim, *"abcde")
    if ending == "cancelled":
        store_of(link).cancel(job.id, OWNER)
        worker.beat(claim)
    elif ending == "failed":
        finish(worker, claim, "failed")
    else:
        age(link, job.id, **{"deadline_ms" if ending == "overdue" else "leased_until_ms": 1})
        keep(link, lease_ms=60_000, max_attempts=1)
    assert total(link) == Figures(prompt_tokens(link, job), 5, 1, 1, 1)


def test_attempts_that_are_lost(link: RedisLink) -> None:
    """Each attempt of a job has used what it wrote itself, also one that continued the text of another."""
    job, worker = submit(link, continuable=True), HandWorker(link)
    for count in (3, 4):
        worker.say(worker.take(), *["text"] * count)
        age(link, job.id, leased_until_ms=1)
        keep(link, lease_ms=60_000)
    expected = Figures(2 * prompt_tokens(link, job), 7, 0, 2, 2)
    assert total(link) == expected
    claim = worker.claim(wanted="apart")
    assert claim is not None
    assert claim.prefix == "text" * 7
    worker.append(claim, claim.first, tokens(claim.first, "x" * 41), text="x" * 41)
    finish(worker, claim)
    assert total(link) == expected + Figures(prompt_tokens(link, job), 11, 1, 1)


def test_attempt_that_wrote_nothing(link: RedisLink) -> None:
    """Its upstream may never have had the prompt, so it has used nothing. One that an upstream refused does not
    count."""
    job, worker = submit(link), HandWorker(link)
    claim = worker.take()
    worker.claims.hand_back(job.id, claim.fence, counts=False)
    assert total(link) == Figures(attempts=1, unsuccessful=1)
    claim = worker.take()
    worker.claims.hand_back(job.id, claim.fence, counts=False, reason="upstream_refused")
    assert total(link) == Figures(attempts=1, unsuccessful=1)
    store_of(link).cancel(job.id, OWNER)
    assert total(link) == Figures(jobs=1, attempts=1, unsuccessful=1)


@pytest.mark.one_shard
def test_attempt_that_lost_history(link: RedisLink) -> None:
    """A job that ends after Redis lost part of its log has used what is left of it, and not what the jump skips."""
    job, worker = submit(link), HandWorker(link)
    worker.say(worker.take(), *"abc")
    restart(link)
    settle(link)
    age(link, job.id, deadline_ms=1)
    keep(link, lease_ms=60_000)
    assert record(link, job.id)["status"] == "failed"
    assert total(link) == Figures(prompt_tokens(link, job), 3, 1, 1, 1)


def test_resent_end_counts_once(link: RedisLink) -> None:
    """A worker that sends an end again changes nothing, nor does the deletion of the job."""
    job, worker = submit(link), HandWorker(link)
    claim = worker.take()
    end = orjson.dumps({"status": "succeeded", "usage": {"input_tokens": 1, "output_tokens": 2}})
    for _ in range(2):
        assert worker.append(claim, claim.first, [done(claim.first)], ending=end) == claim.first
    store_of(link).delete(job.id, OWNER)
    assert total(link) == Figures(1, 2, 1, 1)


def test_damaged_row(link: RedisLink) -> None:
    """A row that cannot be read does not hide others, and a later end begins it again."""
    worker = HandWorker(link)
    submit(link)
    finish(worker, worker.take(), input_tokens=1, output_tokens=2)
    (key,) = link.call("KEYS", "spool:*:usage:alice:*")
    (field,) = [name for name in link.call("HKEYS", key) if name.endswith(b" demo")]
    link.call("HSET", key, field, "x")
    assert rows(link) == []
    link.call("SET", key, "no hash")
    assert rows(link) == []


def test_rows_are_grouped() -> None:
    """Rows with the same values are added up."""
    day, more = date(2026, 11, 30), Figures(1, 2, 3, 4, 5, 6)
    three = [Row(day, "a", "k", "m", more), Row(day, "a", "k", "n", more), Row(day + DAY, "b", "k", "m", more)]
    assert grouped(three, ["owner"]) == {("a",): more + more, ("b",): more}
    assert grouped(three, ["day", "model"]) == {
        ("2026-11-30", "m"): more,
        ("2026-11-30", "n"): more,
        ("2026-12-01", "m"): more,
    }
    assert grouped(three, []) == {(): more + more + more}


def test_grouping_stops_beyond_its_limit() -> None:
    """With more sums than a caller takes, the rest is not read."""
    row = Row(date(2026, 11, 30), "a", "", "demo", Figures(1))
    rest = iter([replace(row, owner=owner) for owner in "aabcd"])
    assert len(grouped(rest, ["owner"], at_most=2)) == 3
    assert [row.owner for row in rest] == ["d"]


@pytest.mark.one_shard
@pytest.mark.parametrize("period", ["tokens_per_day", "tokens_per_month"])
def test_budget_of_an_owner(link: RedisLink, period: str) -> None:
    """A submit is taken until the budget is used up, then refused, as is a batch; running jobs continue, and other
    owners notice nothing."""
    store, worker = store_of(link), HandWorker(link)
    limits = OwnerLimits(budget=Budget(**{period: 100}))
    for _ in range(3):
        store.submit(new_job(), max_queued=9, limits=limits)
    finish(worker, worker.take(), input_tokens=10, output_tokens=89)
    store.submit(new_job(), max_queued=9, limits=limits)
    finish(worker, worker.take(), input_tokens=1, output_tokens=0)
    with pytest.raises(QuotaExceeded, match=r"your budget of 100 tokens a .* is used up \(100 used\)"):
        store.submit(new_job(), max_queued=9, limits=limits)
    with pytest.raises(QuotaExceeded):
        store.stage_batch(NewBatch("b0-" + "0" * 26, OWNER, [new_job()]), max_queued=9, limits=limits)
    assert len({worker.take().job.id, worker.take().job.id}) == 2
    store.submit(new_job(owner="bob"), max_queued=9, limits=limits)
    store.submit(new_job(), max_queued=9)


@pytest.mark.one_shard
def test_budget_of_a_credential(link: RedisLink) -> None:
    """A key's budget counts what was submitted with it alone."""
    store, worker = store_of(link), HandWorker(link)
    limits = OwnerLimits(credential_budget=Budget(tokens_per_month=5))
    link.call("HSET", job_key(submit(link).id), "credential", "k1")
    finish(worker, worker.take(), input_tokens=3, output_tokens=2)
    store.submit(new_job(), max_queued=9, limits=limits)
    with pytest.raises(QuotaExceeded, match="this key's budget of 5 tokens a month"):
        store.stage_batch(NewBatch("b0-" + "0" * 26, OWNER, [new_job()], credential="k1"), max_queued=9, limits=limits)
    store.stage_batch(NewBatch("b0-" + "1" * 26, OWNER, [new_job()], credential="k2"), max_queued=9, limits=limits)


@pytest.mark.parametrize(
    ("period", "now", "renewed"),
    [
        ("day", "2026-11-30T23:59:58", "2026-12-01T00:00:00.000Z"),
        ("month", "2026-12-31T12:00:00", "2027-01-01T00:00:00.000Z"),
        ("month", "2027-02-01T00:00:00", "2027-03-01T00:00:00.000Z"),
    ],
    ids=["day", "end of a year", "short month"],
)
def test_when_a_budget_is_renewed(period: str, now: str, renewed: str) -> None:
    """A day's budget is renewed at midnight, a month's on its first day, in UTC."""
    at = datetime.fromisoformat(now).replace(tzinfo=UTC).timestamp()
    refusal = quota_exceeded(at, period, "owner", 10, 12)
    assert renewed in str(refusal)
    assert rfc3339(at + refusal.retry_after_s) == renewed
