"""One trace from the request to the end of its job, over two workers of which one is killed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stack import Stack, wait_for
from tests.trace_collector import Collector, running_collector

pytestmark = pytest.mark.slow
TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SECRET = "the weather in Utrecht"


@pytest.fixture
def collector() -> Iterator[Collector]:
    """A collector that the programs' environment names."""
    with running_collector() as running:
        yield running


def test_trace_of_a_job_whose_worker_is_killed(directory: Path, collector: Collector) -> None:
    """Request, submit, wait, the lost attempt, the second one and its call are one trace. No span has the prompt."""
    stack = Stack(directory)
    for process in (*stack.webs, *stack.workers):
        process.env = {**process.env, **collector.environ}
    try:
        stack.start()
        client = stack.client(headers={"traceparent": f"00-{TRACE}-{CALLER}-01"})
        asked = {"prompt": SECRET, "params": {"tokens": 60, "rate": 20}}
        job = client.post("/jobs", json=asked).json()["id"]
        wait_for(lambda: client.get(f"/jobs/{job}").json()["last_entry"] > 3, "it runs")
        (runs,) = [worker for worker in stack.workers if "job_claimed" in worker.output.read_text()]
        runs.kill()
        wait_for(lambda: client.get(f"/jobs/{job}").json()["status"] == "succeeded", "another worker ends it")
        wait_for(lambda: len(collector.spans) >= 6, "its spans arrive")
        assert {span.trace for span in collector.spans} == {TRACE}
        assert collector.tree() == [
            ("POST /jobs", CALLER),
            ("submit", "POST /jobs"),
            ("queue", "submit"),
            ("attempt", "submit"),
            ("attempt", "submit"),
            ("chat demo", "attempt"),
        ]
        _request, _submit, _queue, lost, second, call = collector.spans
        assert [one.attributes["spool.outcome"] for one in (lost, second)] == ["lost", "succeeded"]
        assert [one.attributes["spool.attempt"] for one in (lost, second)] == [1, 2]
        assert call.parent == second.id
        assert second.attributes["spool.attempt.how"] == "continued"
        assert not any(SECRET.encode() in each.body for each in collector.receiver.received)
    finally:
        stack.close()


def test_job_that_is_cancelled_in_the_queue(directory: Path, collector: Collector) -> None:
    """Its end is a span, although no worker ever had it; the polls and streams of readers have none."""
    stack = Stack(directory, workers=0)
    for web in stack.webs:
        web.env = {**web.env, **collector.environ}
    try:
        stack.start()
        client = stack.client(headers={"traceparent": f"00-{TRACE}-{CALLER}-01"})
        job = client.post("/jobs", json={"prompt": "x"}).json()["id"]
        client.post(f"/jobs/{job}/cancel")
        client.get(f"/jobs/{job}")
        wait_for(lambda: len(collector.spans) >= 3, "its spans arrive")
        assert collector.tree() == [("POST /jobs", CALLER), ("submit", "POST /jobs"), ("end", "submit")]
        assert collector.spans[-1].attributes["spool.outcome"] == "cancelled"
    finally:
        stack.close()
