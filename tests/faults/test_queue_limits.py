"""Limits of models and owners, counted at their upstreams, over several workers of which some are killed: never more,
and no reservation is left when all jobs have ended."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from spool.access.caller import ANONYMOUS_OWNER as ANONYMOUS
from tests.by_hand import use
from tests.faults.checker import PREFIX
from tests.faults.jobs import Jobs
from tests.faults.measured import measured
from tests.faults.upstreams import MODEL, stack_with, stack_with_many
from tests.scripted_upstream import Call
from tests.stack import Stack, wait_for

JOBS = 200
WORKERS = 3
ANSWER_S = 0.3
TOKENS = 200
WINDOW_S = 10.0


@dataclass
class Meter:
    """An upstream that counts its open calls and the tokens that each uses."""

    most: int = 0
    begun: list[float] = field(default_factory=list)
    _open: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, call: Call) -> None:
        with self._lock:
            self.begun.append(call.at)
            self._open += 1
            self.most = max(self.most, self._open)
        try:
            call.begin()
            call.hold(ANSWER_S)
        finally:
            # Before the end is sent: a worker may begin the next call as soon as it has read it.
            with self._lock:
                self._open -= 1
        call.text("x")
        call.done(usage=(0, TOKENS))


def run_with_kills(stack: Stack, jobs: Jobs, kills: int, **params: Any) -> list[str]:
    """So many jobs to their end, while workers are killed and started again, one after the other."""
    ids = [jobs.submit(f"job {number}", fields=MODEL, **params) for number in range(JOBS)]
    finish_with_kills(stack, jobs, ids, kills)
    return ids


def finish_with_kills(stack: Stack, jobs: Jobs, ids: Sequence[str], kills: int) -> None:
    """Let these jobs end, while workers are killed and started again, one after the other."""
    for number in range(kills):
        before = ended(jobs, ids)
        wait_for(lambda before=before: ended(jobs, ids) >= before + len(ids) // 10, "some more jobs have ended", 60)  # type: ignore[misc]
        worker = stack.workers[number % WORKERS]
        worker.kill()
        worker.start()
    jobs.wait_for_end(ids, within_s=120)


def ended(jobs: Jobs, ids: Sequence[str]) -> int:
    """How many of them have succeeded."""
    return jobs.fields(ids, "status").count("succeeded")


@dataclass
class ScopedMeter:
    """An upstream that counts the open calls of each scope: in all, of a model, and of the fairness key in the
    prompt."""

    most: dict[str, int] = field(default_factory=dict)
    _open: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, call: Call) -> None:
        prompt = call.body["messages"][-1]["content"]
        scopes = ["owner", call.body["model"], prompt.split()[0]]
        with self._lock:
            for scope in scopes:
                self._open[scope] += 1
                self.most[scope] = max(self.most.get(scope, 0), self._open[scope])
        try:
            call.begin()
            call.hold(ANSWER_S)
        finally:
            with self._lock:
                self._open.subtract(scopes)
        call.text("x")
        call.done()


def most_in_window(times: Sequence[float], seconds: float) -> int:
    """The highest number of these times in any window of this length."""
    ordered = sorted(times)
    first, most = 0, 0
    for at, moment in enumerate(ordered):
        while moment - ordered[first] >= seconds:
            first += 1
        most = max(most, at - first + 1)
    return most


def counters(stack: Stack) -> dict[str, int]:
    """What is still counted of queued and running jobs; the bytes that ended jobs keep are not among it."""
    link = stack.redis.link
    found = {index: int(link.call("ZCARD", PREFIX + index)) for index in ("running:m", "pending:m", "deadlines")}
    found |= {name: value for name, value in use(link, ANONYMOUS).items() if name != "bytes"}
    return {name: value for name, value in found.items() if value}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_model_limited_to_four_running_jobs(directory: Path) -> None:
    """At no time does the upstream have more than four calls, also while workers die; afterwards nothing is counted."""
    meter = Meter()
    with stack_with(directory, meter, limits={"max_running": 4}, workers=WORKERS, concurrency=10, MAX_ATTEMPTS=20) as (
        stack,
        upstream,
    ):
        jobs = Jobs(stack)
        began = time.monotonic()
        ids = run_with_kills(stack, jobs, kills=4)
        assert set(jobs.fields(ids, "status")) == {"succeeded"}
        assert meter.most == 4
        assert counters(stack) == {}
        assert jobs.violations() == []
        measured(
            f"{JOBS} jobs, max_running 4, 3 workers, 4 kills",
            most=meter.most, calls=len(upstream.calls), took_s=round(time.monotonic() - began, 1),
        )  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("limit", "value", "each"), [("rpm", 600, 1), ("tpm", 50_000, TOKENS)])
def test_model_limited_to_a_rate(directory: Path, limit: str, value: int, each: int) -> None:
    """No stretch of time has more requests or tokens than a full bucket and what flows in, also while workers die;
    afterwards nothing is counted, and the bucket has what it held."""
    meter = Meter()
    with stack_with(directory, meter, limits={limit: value}, workers=WORKERS, concurrency=10, MAX_ATTEMPTS=20) as (
        stack,
        upstream,
    ):
        jobs = Jobs(stack)
        began = time.monotonic()
        ids = run_with_kills(stack, jobs, kills=2)
        most = most_in_window(meter.begun, WINDOW_S) * each
        measured(
            f"{JOBS} jobs of {TOKENS} tokens, {limit} {value:,}, 3 workers, 2 kills",
            most_in_10_s=most, calls=len(upstream.calls), took_s=round(time.monotonic() - began, 1),
        )  # fmt: skip
        assert set(jobs.fields(ids, "status")) == {"succeeded"}
        # A twentieth fills the bucket; a second more, because calls reach the upstream some time after their claims.
        assert most <= value / 20 + value / 60 * (WINDOW_S + 1)
        assert counters(stack) == {}
        wait_for(lambda: stack.redis.link.call("EXISTS", f"{PREFIX}bucket:{limit}:m") == 0, "the bucket is full", 30)
        assert jobs.violations() == []


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_limits_of_an_owner(directory: Path) -> None:
    """At no time do the upstreams have more calls of an owner, of an owner and model, or of a fairness key than may
    run, also while workers die; each limit is used up; afterwards no scope counts anything."""
    meter, owners = ScopedMeter(), directory / "owners.toml"
    owners.write_text(
        f'[[owner]]\nname = "{ANONYMOUS}"\nmax_running = 6\nfairness_key_max_running = 2\n'
        '[[owner.model]]\nname = "m"\nmax_running = 4\n'
    )
    settings = {"workers": WORKERS, "concurrency": 10, "MAX_ATTEMPTS": 20, "OWNERS_FILE": owners}
    with stack_with_many(directory, {"m": [meter], "n": [meter]}, **settings) as (stack, _upstreams):
        jobs = Jobs(stack)
        began = time.monotonic()
        ids = []
        for number in range(JOBS // 2):
            key = f"k{number % 5}"
            fields = {"model": "mn"[number % 2], "fairness_key": key}
            ids.append(jobs.submit(f"{key} job {number}", fields=fields))
        finish_with_kills(stack, jobs, ids, kills=3)
        measured(
            f"{len(ids)} jobs of 2 models and 5 keys, limits 6, 4 and 2, 3 workers, 3 kills",
            **meter.most, took_s=round(time.monotonic() - began, 1),
        )  # fmt: skip
        assert set(jobs.fields(ids, "status")) == {"succeeded"}
        assert (meter.most["owner"], meter.most["m"]) == (6, 4)
        assert {meter.most[f"k{number}"] for number in range(5)} == {2}
        assert counters(stack) == {}
        left = [key for pattern in ("*-running:*", "held*") for key in stack.redis.link.call("KEYS", PREFIX + pattern)]
        assert left == []
        assert jobs.violations() == []
