"""``GET /usage``: own figures, groups and days, and wrong queries."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import orjson
import pytest

from tests.by_hand import HandWorker, done, store_of, submit
from tests.stack import Stack
from tests.web.conftest import ADMIN
from tests.web.problem_shape import assert_problem


@pytest.fixture
def used(guarded: Stack) -> Stack:
    """Two jobs of alice and one of bob have ended."""
    link = guarded.redis.link
    link.call("FLUSHALL")
    worker = HandWorker(link)
    for owner in ("alice", "alice", "bob"):
        job = submit(link, owner=owner)
        claim = worker.take_job(job.id)
        end = {"status": "succeeded", "usage": {"input_tokens": 3, "output_tokens": 4}}
        worker.append(claim, claim.first, [done(claim.first)], ending=orjson.dumps(end))
    cancelled = submit(link, owner="alice")
    store_of(link).cancel(cancelled.id, "alice")
    return guarded


def about_today() -> dict[str, str]:
    """The query for yesterday to tomorrow: the day may change during a test."""
    today = datetime.now(UTC).date()
    return {"from": str(today - timedelta(days=1)), "to": str(today + timedelta(days=1))}


def without_time(row: dict[str, Any]) -> dict[str, Any]:
    """The figures without the seconds."""
    assert row["seconds"] >= 0
    return {name: value for name, value in row.items() if name != "seconds"}


FIGURES = {"input_tokens": 6, "output_tokens": 8, "jobs": 3, "attempts": 2, "unsuccessful_attempts": 0}


def test_usage_of_the_caller(used: Stack, alice: httpx.Client) -> None:  # noqa: ARG001
    """A caller sees the figures of its owner, divided as it asks."""
    found = alice.get("/usage", params={**about_today(), "group": "model,owner"}).json()
    assert [without_time(row) for row in found["usage"]] == [{"model": "demo", "owner": "alice", **FIGURES}]
    assert without_time(found["total"]) == FIGURES
    assert found["group"] == ["model", "owner"]


def test_days_without_usage(used: Stack, alice: httpx.Client) -> None:  # noqa: ARG001
    """Days outside the query do not count; by default they are those of this month."""
    found = alice.get("/usage", params={"from": "2026-01-01", "to": "2026-01-31"}).json()
    assert (found["usage"], found["total"]["jobs"]) == ([], 0)
    found = alice.get("/usage").json()
    assert found["from"] == found["to"][:8] + "01"
    assert found["group"] == ["day", "model"]


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"from": "30.11.2026"}, "from"),
        ({"to": "2026-13-01"}, "to"),
        ({"from": "2026-02-02", "to": "2026-02-01"}, "from"),
        ({"from": "2020-01-01", "to": "2026-02-01"}, "from"),
        ({"group": "day,weather"}, "group"),
        ({"group": "day,day"}, "group"),
    ],
    ids=["no day", "no month", "backwards", "long", "unknown group", "group twice"],
)
def test_query_that_is_wrong(used: Stack, alice: httpx.Client, params: dict[str, str], field: str) -> None:  # noqa: ARG001
    """A wrong argument is a 422 that names it."""
    problem = assert_problem(alice.get("/usage", params=params), 422)
    assert problem["errors"][0]["field"] == field


def test_budget_of_a_key(used: Stack, alice: httpx.Client) -> None:
    """A key whose budget is used up gets 429 with the time of renewal, for jobs and batches; its owner's other keys and
    the key's other calls continue, and an admin sees the usage of each key."""
    with used.client(headers={"Authorization": f"Bearer {ADMIN}"}) as admin:
        limits = {"tokens_per_day": 5}
        key = admin.post("/admin/keys", json={"owner": "alice", "name": "small", "limits": limits}).json()
        with used.client(headers={"Authorization": f"Bearer {key['key']}"}) as small:
            job = small.post("/jobs", json={"prompt": "x"}).json()["id"]
            worker = HandWorker(used.redis.link)
            claim = worker.take_job(job)
            end = {"status": "succeeded", "usage": {"input_tokens": 3, "output_tokens": 4}}
            worker.append(claim, claim.first, [done(claim.first)], ending=orjson.dumps(end))
            refused = small.post("/jobs", json={"prompt": "x"})
            problem = assert_problem(refused, 429)
            assert problem["type"].endswith("quota-exceeded")
            assert "this key's budget of 5 tokens a day is used up (7 used)" in problem["detail"]
            assert_problem(small.post("/batches", json=[{"prompt": "x"}]), 429)
            assert small.get(f"/jobs/{job}").status_code == 200
        assert alice.post("/jobs", json={"prompt": "x"}).status_code == 202
        found = admin.get("/usage", params={**about_today(), "group": "owner,credential"}).json()["usage"]
        assert [row["output_tokens"] for row in found if row["credential"] == key["id"]] == [4]
        assert {row["owner"] for row in found} == {"alice", "bob"}
