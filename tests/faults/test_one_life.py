"""One job's life, told by a search for its request id over the logs of webs and workers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.stack import Stack, running_stack, wait_for

ID = "order-4711"


def lines_with(stack: Stack, text: str) -> list[dict[str, Any]]:
    """The lines of all webs and workers that contain the text, in the order of time."""
    logs = [process.output.read_text() for process in (*stack.webs, *stack.workers)]
    found = [json.loads(line) for log in logs for line in log.splitlines() if text in line]
    return sorted(found, key=lambda line: str(line["timestamp"]))


@pytest.mark.slow
def test_one_job_told_by_its_request_id(directory: Path) -> None:
    """Submit, claim, loss of the worker, second claim, first token and end are found by the id alone, in this order, on
    the processes where they happened."""
    with running_stack(directory, LOG_FORMAT="json") as stack:
        client = stack.client(headers={"X-Request-Id": ID})
        job = client.post("/jobs", json={"prompt": "x", "params": {"tokens": 60, "rate": 20}}).json()["id"]
        client.headers["X-Request-Id"] = "another"
        wait_for(lambda: client.get(f"/jobs/{job}").json()["last_entry"] > 3, "it runs")
        (runs,) = [worker for worker in stack.workers if "job_claimed" in worker.output.read_text()]
        runs.kill()
        wait_for(lambda: client.get(f"/jobs/{job}").json()["status"] == "succeeded", "another worker ends it")
        wait_for(lambda: lines_with(stack, ID)[-1]["event"] == "job_ended", "its end is logged")
        found = lines_with(stack, ID)
        assert {line["request_id"] for line in found} == {ID}
        events = [line["event"] for line in found if line["event"] != "request"]
        assert events == [
            *("job_submitted", "job_claimed", "job_first_token"),
            *("job_lost", "job_claimed", "job_first_token", "job_ended"),
        ]
        assert {line["job"] for line in found if line["event"].startswith("job_")} == {job}
        assert len({line["pid"] for line in found}) >= 3
        print("\n".join(f"{line['event']} {line}" for line in found))
