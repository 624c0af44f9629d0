"""The broker away: it only rings, so jobs that run do not notice, and jobs that wait do not wait for it."""

from __future__ import annotations

import time
from pathlib import Path

from tests.readers import read_sse
from tests.stack import Redis, running_stack, wait_for


def test_broker_that_dies(directory: Path) -> None:
    """With the broker gone, streams go on without a pause, and a new job is begun within seconds."""
    (directory / "broker").mkdir()
    broker = Redis(directory / "broker", aof=False)
    broker.start()
    try:
        wait_for(broker.is_ready, "the broker answers")
        url = broker.url.replace("unix://", "redis+socket://")
        with running_stack(directory, webs=1, workers=1, BROKER_URL=url) as stack:
            client = stack.client()
            body = {"prompt": "x", "params": {"tokens": 100, "rate": 20}}
            job = client.post("/jobs", json=body).json()["id"]
            wait_for(lambda: client.get(f"/jobs/{job}").json()["last_entry"] > 5, "tokens come")
            broker.kill()
            began = time.monotonic()
            assert client.post("/jobs", json={"prompt": "y", "params": {"tokens": 3}}).status_code == 202
            assert time.monotonic() - began < 2
            late = client.get("/jobs?limit=1").json()["jobs"][0]["id"]
            assert read_sse(stack.webs[0].url, late).entries[-1]["kind"] == "done"
            # Still in the middle of the first one: nothing waited for the broker.
            assert client.get(f"/jobs/{job}").json()["status"] == "running"
            reading = read_sse(stack.webs[0].url, job)
            assert [entry["kind"] for entry in reading.entries].count("token") == 100
            assert reading.entries[0]["kind"] == "started"
            assert reading.entries[-1]["kind"] == "done"
    finally:
        broker.close()
        broker.link.close()
