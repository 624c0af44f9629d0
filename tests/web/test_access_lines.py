"""Which requests have a log line."""

from __future__ import annotations

import json
from itertools import count
from typing import Any

import httpx

from tests.stack import Stack, wait_for
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


def lines_of(stack: Stack, client: httpx.Client, name: str) -> list[dict[str, Any]]:
    """The lines of five requests and a cancel. A second in which this web has answered 50 others has none for them."""

    def called(number: int) -> dict[str, str]:
        return {"X-Request-Id": f"{name}-{number}"}

    job = client.post("/jobs", json={"prompt": "x"}, headers=called(1)).json()["id"]
    client.get(f"/jobs/{job}", headers=called(2))
    client.get(f"/jobs/{job}/entries?wait=0", headers=called(3))
    client.get("/jobs/nothing?token=hidden", headers=called(4))
    client.post(f"/jobs/{job}/cancel")
    client.get(f"/jobs/{job}/stream", headers=called(5))
    lines = stack.webs[0].output.read_text().splitlines()
    return [json.loads(line) for line in lines if '"event":"request"' in line and f'"{name}-' in line]


def test_requests_that_have_a_line(guarded: Stack, alice: httpx.Client) -> None:
    """A write, a refusal and a stream have a line with owner, route and status; a read that succeeds has none."""
    names = (f"line{number}" for number in count(1))
    found = wait_for(
        lambda: lines if len(lines := lines_of(guarded, alice, next(names))) >= 3 else None, "a second with its lines"
    )
    shown = [tuple(one.get(name) for name in ("method", "route", "status", "stream")) for one in found]
    assert shown == [
        ("POST", "/jobs", 202, None),
        ("GET", "/jobs/<job_id>", 404, None),
        ("GET", "/jobs/<job_id>/stream", 200, True),
    ]
    assert [one["request_id"].partition("-")[2] for one in found] == ["1", "4", "5"]
    assert {one["owner"] for one in found} == {"alice"}
    assert "hidden" not in guarded.webs[0].output.read_text()
