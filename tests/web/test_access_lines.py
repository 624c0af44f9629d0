"""Which requests have a log line."""

from __future__ import annotations

import json

import httpx

from tests.stack import Stack
from web.access_lines import Sampling


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Its time."""
        return self.now


def test_lines_at_a_high_rate() -> None:
    """Up to 50 requests in a second have a line each; of more, one in 50 stands for all of them."""
    clock = Clock()
    sampling = Sampling(clock)
    assert [sampling.take() for _ in range(50)] == [1] * 50
    later = [sampling.take() for _ in range(1000)]
    assert sum(later) == 1000
    assert len([taken for taken in later if taken]) == 20
    clock.now = 1.0
    assert sampling.take() == 1


def test_requests_that_have_a_line(guarded: Stack, alice: httpx.Client) -> None:
    """A write, a refusal and a stream have a line with owner, route and status; a read that succeeds has none."""
    job = alice.post("/jobs", json={"prompt": "x"}, headers={"X-Request-Id": "line-1"}).json()["id"]
    alice.get(f"/jobs/{job}", headers={"X-Request-Id": "line-2"})
    alice.get(f"/jobs/{job}/entries?wait=0", headers={"X-Request-Id": "line-3"})
    alice.get("/jobs/nothing?token=hidden", headers={"X-Request-Id": "line-4"})
    alice.post(f"/jobs/{job}/cancel")
    alice.get(f"/jobs/{job}/stream", headers={"X-Request-Id": "line-5"})
    output = guarded.webs[0].output.read_text()
    found = [json.loads(line) for line in output.splitlines() if '"event":"request"' in line and "line-" in line]
    shown = [tuple(one.get(name) for name in ("request_id", "method", "route", "status", "stream")) for one in found]
    assert shown == [
        ("line-1", "POST", "/jobs", 202, None),
        ("line-4", "GET", "/jobs/<job_id>", 404, None),
        ("line-5", "GET", "/jobs/<job_id>/stream", 200, True),
    ]
    assert {one["owner"] for one in found} == {"alice"}
    assert "hidden" not in output
