"""The basics with real processes and two shards in one Redis."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from spool.ids import shard_of
from tests.stack import Stack, Web, running_stack, wait_for

# Collected here again, with this module's stack.
from tests.system.test_contract import (  # noqa: F401
    ended_job,
    test_log_of_a_job_that_has_ended,
)

QUICK = {"tokens": 5, "rate": 0, "first_token_s": 0}


@pytest.fixture(scope="module")
def stack(short_dir: Path) -> Iterator[Stack]:
    """Two webs and a worker, on two shards."""
    directory = short_dir / "two-shards"
    directory.mkdir()
    with running_stack(directory, workers=1, SHARDS=2) as running:
        yield running


@pytest.fixture
def client(stack: Stack) -> httpx.Client:
    """A client of one of the webs."""
    return stack.client()


def submit(client: httpx.Client, params: Any = QUICK, **headers: str) -> httpx.Response:
    """A job for the demo."""
    answer = client.post("/jobs", json={"prompt": "x", "params": params}, headers=headers)
    assert answer.status_code in (200, 202), answer.text
    return answer


def has_ended(client: httpx.Client, job: str) -> bool:
    """Whether the job has succeeded."""
    return bool(client.get(f"/jobs/{job}").json()["status"] == "succeeded")


def test_jobs_of_both_shards_run_and_are_listed(stack: Stack, client: httpx.Client) -> None:
    """Jobs are spread over the shards, all run, and their owner's list has them newest first, by pages."""
    jobs = [submit(client).json()["id"] for _ in range(6)]
    assert [shard_of(job) for job in jobs].count(0) == 3
    for job in jobs:
        wait_for(lambda job=job: has_ended(client, job), f"{job} has succeeded")  # type: ignore[misc]
    page: dict[str, Any] = {"cursor": None}
    listed: list[str] = []
    while len(listed) < 6:
        query = {"limit": 2, **({"cursor": page["cursor"]} if page["cursor"] else {})}
        page = stack.client(1).get("/jobs", params=query).json()
        listed += [job["id"] for job in page["jobs"]]
    assert sorted(listed) == sorted(jobs)
    created = {job: client.get(f"/jobs/{job}").json()["created_at"] for job in jobs}
    assert [created[job] for job in listed] == sorted(created.values(), reverse=True)


def test_idempotency_key_on_any_web(stack: Stack) -> None:
    """A submit with the same key finds the first one's job, from another web as well."""
    for key in ("one", "two", "three", "four"):
        first, again = (submit(stack.client(web), **{"Idempotency-Key": key}) for web in (0, 1))
        assert first.json()["id"] == again.json()["id"]
        assert again.headers["Idempotent-Replayed"] == "true"


def test_batch_on_its_shard(client: httpx.Client) -> None:
    """All jobs of a batch lie on its shard, and all succeed, for batches on either shard."""
    for _ in range(2):
        answer = client.post("/batches", json=[{"prompt": "x", "params": QUICK}] * 5)
        assert answer.status_code == 202, answer.text
        batch = answer.json()["id"]
        wait_for(lambda batch=batch: client.get(f"/batches/{batch}").json()["ended"], "the batch has ended")  # type: ignore[misc]
        results = [line for line in client.get(f"/batches/{batch}/results").text.splitlines() if line]
        assert client.get(f"/batches/{batch}").json()["counts"]["succeeded"] == len(results) == 5
        assert all(f'"j{shard_of(batch)}-' in line for line in results)


def test_cancel_and_delete_on_both_shards(client: httpx.Client) -> None:
    """Running jobs of either shard are cancelled by their heartbeat, and deleted."""
    jobs = [submit(client, {"first_token_s": 60}).json()["id"] for _ in range(2)]
    assert {shard_of(job) for job in jobs} == {0, 1}
    for job in jobs:
        wait_for(lambda job=job: client.get(f"/jobs/{job}").json()["status"] == "running", "it runs")  # type: ignore[misc]
        client.post(f"/jobs/{job}/cancel")
        wait_for(lambda job=job: client.get(f"/jobs/{job}").json()["status"] == "cancelled", "it is cancelled")  # type: ignore[misc]
        assert client.delete(f"/jobs/{job}").status_code == 204


def test_process_with_another_number_of_shards(stack: Stack, client: httpx.Client) -> None:
    """A web that uses another number than Redis names refuses submits, and says both numbers."""
    web = Web("one-shard", {**stack.env, "SPOOL_SHARDS": "1"}, stack.directory)
    web.start()
    try:
        wait_for(lambda: web.output.exists() and "in 2 shards" in web.output.read_text(), "the web says what is wrong")
        answer = client.post(f"{web.url}/jobs", json={"prompt": "x"})
        assert answer.status_code == 503
        assert "this process uses 1" in answer.json()["detail"]
    finally:
        web.close()
