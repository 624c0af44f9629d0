"""The buttons of a local demo: each kills a real process, and the answer is whole all the same."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from tests.stack import Stack, running_stack, wait_for

pytestmark = pytest.mark.slow


def test_kills_of_a_local_demo(directory: Path) -> None:
    """The worker of a job dies, and another process takes the job; then the web that answers dies. Other parts, other
    pages and jobs that do not run are refused."""
    with running_stack(directory, webs=1, workers=2, aof=True, LOCAL_DEMO=1) as stack, stack.client() as client:
        assert client.get("/session").json()["local_demo"] is True
        job = client.post("/jobs", json={"prompt": "hi", "params": {"rate": 20}}).json()["id"]
        wait_for(lambda: client.get(f"/jobs/{job}").json()["last_entry"] > 5, "the job runs")
        first = client.get("/demo/worker", params={"job": job}).json()["process"]
        foreign = client.post(f"/demo/kill/worker?job={job}", headers={"Origin": "https://evil.example"})
        assert foreign.status_code == 403
        assert client.post(f"/demo/kill/worker?job={job}").json() == {"part": "worker", "process": first}
        wait_for(lambda: not all(worker.running for worker in stack.workers), "the worker is dead")
        wait_for(lambda: _next_process(client, job, first), "another process runs the job")
        assert client.post("/demo/kill/nothing").status_code == 404
        _ended(client, job)
        assert client.post(f"/demo/kill/worker?job={job}").status_code == 409
        _kill_the_web(stack, client)


def _next_process(client: httpx.Client, job: str, before: int) -> bool:
    answer = client.get("/demo/worker", params={"job": job})
    return answer.status_code == 200 and answer.json()["process"] != before


def _ended(client: httpx.Client, job: str) -> None:
    wait_for(lambda: client.get(f"/jobs/{job}").json()["status"] == "succeeded", "the job succeeds")


def _kill_the_web(stack: Stack, client: httpx.Client) -> None:
    process = client.post("/demo/kill/web").json()["process"]
    wait_for(lambda: not Path(f"/proc/{process}").exists(), "the web process is dead")
    wait_for(stack.webs[0].is_ready, "its successor serves")


def test_kill_of_redis(directory: Path) -> None:
    """The process that Redis names is the one that dies."""
    with running_stack(directory, webs=1, workers=0, LOCAL_DEMO=1) as stack, stack.client() as client:
        process = client.post("/demo/kill/redis").json()["process"]
        assert process == stack.redis.pid
