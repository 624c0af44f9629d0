"""What callers are told of a job whose record is damaged, or that a newer version wrote."""

from __future__ import annotations

import re

import httpx
import pytest

from spool.jobs.job import SCHEMA
from spool.keys import job as job_key
from tests.stack import Stack


@pytest.fixture
def client(stack: Stack) -> httpx.Client:
    """A client of the shared stack."""
    return stack.client()


def submitted(client: httpx.Client) -> str:
    """A job that runs for a while."""
    answer = client.post("/jobs", json={"prompt": "hello", "params": {"tokens": 500, "rate": 10}})
    return str(answer.json()["id"])


@pytest.mark.parametrize(
    "command", [("HDEL", "created_ms"), ("HSET", "deadline_ms", "soon"), ("HSET", "metadata", "{")]
)
def test_damaged_record(stack: Stack, client: httpx.Client, command: tuple[str, ...]) -> None:
    """Its owner gets the job as ``failed`` with the reason, not a 500, and its log ends."""
    job_id = submitted(client)
    stack.redis.link.call(command[0], job_key(job_id), *command[1:])
    shown = client.get(f"/jobs/{job_id}")
    assert shown.status_code == 200
    assert (shown.json()["status"], shown.json()["error"]["code"]) == ("failed", "record_damaged")
    stream = client.get(f"/jobs/{job_id}/stream")
    assert "event: failed" in stream.text
    assert job_id in {job["id"] for job in client.get("/jobs").json()["jobs"]}


def test_damage_where_no_record_is_left(stack: Stack, client: httpx.Client) -> None:
    """A record that is no hash ends likewise once its owner asks, and nobody else is told of it."""
    job_id = submitted(client)
    stack.redis.link.pipeline([("DEL", job_key(job_id)), ("SET", job_key(job_id), "no record")])
    assert client.get(f"/jobs/{job_id}").json()["error"]["code"] == "record_damaged"


def test_newer_record(stack: Stack, client: httpx.Client) -> None:
    """A job with a state that only a newer version knows is answered with 503 and which version to ask."""
    job_id = submitted(client)
    stack.redis.link.call("HSET", job_key(job_id), "schema", SCHEMA + 1, "status", "paused")
    for answer in (client.get(f"/jobs/{job_id}"), client.post(f"/jobs/{job_id}/cancel")):
        assert answer.status_code == 503
        assert answer.json()["title"] == "Record newer"
        assert "Retry-After" in answer.headers
    stack.redis.link.call("HSET", job_key(job_id), "schema", 1, "status", "running")
    assert client.post(f"/jobs/{job_id}/cancel").status_code == 200


def test_metrics_count_what_is_set_aside(client: httpx.Client) -> None:
    """The number of jobs that are set aside is among the metrics."""
    assert re.search(r"^spool_jobs_set_aside [0-9]+\.0$", client.get("/metrics").text, re.MULTILINE)
