"""Metrics compared with counted traffic, also after a worker and a process of a web were killed."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.stack import Stack, running_stack, wait_for

pytestmark = pytest.mark.slow
WHOLE, CANCELLED, TOKENS = 7, 2, 4


class Scrape:
    """The samples of one answer of ``/metrics``."""

    def __init__(self, client: httpx.Client) -> None:
        lines = (line.rsplit(" ", 1) for line in client.get("/metrics").text.splitlines() if line[0] != "#")
        self.samples = {name: float(value) for name, value in lines}

    def sum(self, name: str, *labels: str) -> float:
        """The sum of a metric's samples that have all these labels."""
        return sum(
            value
            for sample, value in self.samples.items()
            if sample.partition("{")[0] == name and all(label in sample for label in labels)
        )


def traffic(stack: Stack) -> None:
    """Jobs that are streamed to their end and read again, and jobs that are cancelled."""
    client = stack.client()
    for _ in range(WHOLE):
        headers = {"Accept": "text/event-stream"}
        answer = client.post("/jobs", json={"prompt": "x", "params": {"tokens": TOKENS}}, headers=headers)
        assert answer.text.count("event: token") == TOKENS
        client.get(f"{answer.headers['Location']}/stream?after=2", headers=headers)
    for _ in range(CANCELLED):
        job = client.post("/jobs", json={"prompt": "x", "params": {"tokens": 9999, "rate": 5}}).json()["id"]
        wait_for(lambda job=job: client.get(f"/jobs/{job}").json()["text"], "it has begun to answer")  # type: ignore[misc]
        client.post(f"/jobs/{job}/cancel")
        wait_for(lambda job=job: client.get(f"/jobs/{job}").json()["status"] == "cancelled", "it ends")  # type: ignore[misc]


def check(stack: Stack, rounds: int) -> None:
    """Every count is that of so many rounds of the traffic, and nothing is open or waits."""
    jobs = WHOLE + CANCELLED
    expected = {
        ("spool_jobs_submitted_total",): jobs,
        ("spool_jobs_ended_total", 'status="succeeded"'): WHOLE,
        ("spool_jobs_ended_total", 'status="cancelled"'): CANCELLED,
        ("spool_attempts_total", 'how="started"'): jobs,
        ("spool_attempts_over_total", 'reason="cancelled"'): CANCELLED,
        ("spool_tokens_total", 'direction="output"'): WHOLE * TOKENS,
        ("spool_first_token_seconds_count",): jobs,
        ("spool_queue_wait_seconds_count",): jobs,
        ("spool_attempt_seconds_count",): WHOLE,
        ("spool_streams_begun_total", 'resumed="false"'): WHOLE,
        ("spool_streams_begun_total", 'resumed="true"'): WHOLE,
        ("spool_streams_ended_total", 'reason="complete"'): 2 * WHOLE,
        ("spool_stream_seconds_count",): 2 * WHOLE,
        ("spool_http_requests_total", 'surface="jobs"', 'status="202"'): CANCELLED,
        ("spool_jobs_lost_leases_total",): 0,
    }
    client = stack.client()

    def wrong() -> list[tuple[tuple[str, ...], float, float]]:
        scrape = Scrape(client)
        found = [(names, scrape.sum(*names), float(count * rounds)) for names, count in expected.items()]
        now = {("spool_streams",): 0, ("spool_queue_jobs",): 0, ("spool_workers",): 1}
        found += [(names, scrape.sum(*names), float(count)) for names, count in now.items()]
        return [one for one in found if one[1] != one[2]]

    with suppress(AssertionError):
        wait_for(lambda: not wrong(), "the counts", 20)
    assert wrong() == []
    scrape = Scrape(client)
    for name in ("spool_redis_call_seconds_count", "spool_loop_lag_seconds_count"):
        assert scrape.sum(name) > 0, name
    assert scrape.sum("spool_delivery_delay_seconds_count") > 0


def test_counts_are_those_of_the_traffic(directory: Path) -> None:
    """The counts are exact, go on after the worker and a process of the web were killed, and files do not pile up."""
    metrics = directory / "web0-metrics"
    env = {0: {"PROMETHEUS_MULTIPROC_DIR": str(metrics), "SPOOL_PROCESS_NAME": "worker0"}}
    with running_stack(directory, webs=1, workers=1, worker_env=env, WEB_PROCESSES=2) as stack:
        traffic(stack)
        check(stack, 1)
        files = {path.name for path in metrics.iterdir()}
        stack.workers[0].kill()
        children = Path(f"/proc/{stack.webs[0].pid}/task/{stack.webs[0].pid}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGKILL)
        wait_for(lambda: stack.worker_count() == 0, "the killed worker is forgotten")
        stack.workers[0].start()
        stack.wait_ready()
        traffic(stack)
        check(stack, 2)
        assert {path.name for path in metrics.iterdir()} == files
