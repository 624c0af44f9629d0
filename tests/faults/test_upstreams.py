"""Upstreams that misbehave, through web, worker and Redis: the right limit fires, the job is retried or fails, and the
upstream's connection is closed. Most of what an upstream can do is in tests/worker/backends/openai/test_backend.py,
without the rest of Spool around it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.crowd import Crowd
from tests.faults.jobs import Jobs, spread
from tests.faults.measured import measured
from tests.faults.transports import TRANSPORTS
from tests.faults.upstreams import MODEL, breaks, closed_s, silent, stack_with, stack_with_many, stalls
from tests.scripted_upstream import Call, Script, ScriptedUpstream, refuses, says
from tests.stack import Stack, wait_for

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def shared(short_dir: Path) -> Iterator[tuple[Stack, dict[str, ScriptedUpstream]]]:
    """One stack with an upstream for each of the tests that need no other settings."""
    models = {
        "busy": [refuses(429, Retry_After="1"), says("Hel", "lo", usage=(3, 2))],
        "broken": [breaks, says("Right")],
        "strict": [refuses(400, "too spicy")],
    }
    directory = short_dir / "upstreams"
    directory.mkdir()
    with stack_with_many(directory, models) as both:
        yield both


@pytest.mark.slow
def test_upstream_that_refuses_at_first(shared: tuple[Stack, dict[str, ScriptedUpstream]]) -> None:
    """After a 429 the job waits in the queue, visibly, and the answer follows on every transport."""
    stack, upstream = shared[0], shared[1]["busy"]
    with Crowd([web.url for web in stack.webs]) as crowd:
        jobs = Jobs(stack)
        job = jobs.submit(fields={"model": "busy"})
        for transport in TRANSPORTS:
            crowd.follow(job, transport)
        jobs.wait_for_end()
        assert crowd.unfinished(10) == []
        assert jobs.kinds(job) == ["started", "waiting", "restarted", "token", "usage", "done"]
        assert len(upstream.calls) == 2
        assert upstream.calls[1].at - upstream.calls[0].at >= 1.0
        assert jobs.violations(crowd.followings) == []
        assert json.loads(jobs.field(job, "usage")) == {"input_tokens": 3, "output_tokens": 2}


@pytest.mark.slow
def test_upstream_that_dies_mid_answer(shared: tuple[Stack, dict[str, ScriptedUpstream]]) -> None:
    """An answer that breaks off is begun anew, announced by ``restarted``; its first text does not count."""
    jobs = Jobs(shared[0])
    job = jobs.submit(fields={"model": "broken"})
    jobs.wait_for_end()
    assert jobs.kinds(job) == ["started", "token", "waiting", "restarted", "token", "done"]
    assert shared[0].client().get(f"/jobs/{job}").json()["text"] == "Right"
    assert jobs.violations() == []


@pytest.mark.slow
def test_upstream_that_dies_each_time(directory: Path) -> None:
    """As often as a job has attempts, and then it fails; each attempt says that it begins anew."""
    with stack_with(directory, breaks, MAX_ATTEMPTS=3) as (stack, upstream):
        jobs = Jobs(stack)
        job = jobs.submit(fields=MODEL)
        jobs.wait_for_end()
        broken = ["token", "waiting", "restarted"]
        assert jobs.kinds(job) == ["started", *broken, *broken, "token", "failed"]
        error = jobs.error(job)
        assert (error["code"], error["retryable"]) == ("attempts_exhausted", True)
        assert "attempt 3 of 3 failed: the answer was interrupted" in error["message"]
        assert len(upstream.calls) == 3
        assert jobs.violations() == []


@pytest.mark.slow
def test_upstream_that_dies_mid_answer_of_a_job_that_cannot_restart(directory: Path) -> None:
    """With ``on_worker_loss: fail`` and text already said, such a job fails, retryable, in the log itself."""
    with stack_with(directory, breaks) as (stack, _upstream):
        jobs = Jobs(stack)
        job = jobs.submit(fields={**MODEL, "on_worker_loss": "fail"})
        jobs.wait_for_end()
        assert jobs.kinds(job) == ["started", "token", "failed"]
        assert jobs.error(job)["retryable"] is True


@pytest.mark.slow
def test_upstream_that_says_late_what_it_counted(directory: Path) -> None:
    """An answer that has ended is done, although the stream stays open and the usage never comes."""

    def holds(call: Call) -> None:
        call.begin()
        call.text("all of it")
        call.delta("length")
        call.hold(60)

    with stack_with(directory, holds, limits={"between_tokens_s": 60.0}) as (stack, upstream):
        jobs = Jobs(stack)
        job = jobs.submit(fields=MODEL)
        jobs.wait_for_end(within_s=20)
        assert jobs.kinds(job) == ["started", "token", "done"]
        assert jobs.log(job)[-1]["finish_reason"] == "length"
        closed_s(upstream)


@pytest.mark.slow
def test_prompts_that_an_upstream_cannot_answer(directory: Path) -> None:
    """Twenty prompts that get a 500 each time leave the model open: a good one is answered as fast as ever."""

    def script(call: Call) -> None:
        is_bad = "poison" in json.dumps(call.body["messages"])
        refuses(500, "boom")(call) if is_bad else says("x")(call)

    with stack_with(directory, script) as (stack, upstream):
        jobs = Jobs(stack)
        bad = [jobs.submit(f"poison {number}", fields=MODEL) for number in range(20)]
        wait_for(lambda: len(upstream.calls) >= 3, "the gate has closed")
        times = []
        while set(jobs.fields(bad, "status")) != {"failed"}:
            began = time.monotonic()
            jobs.wait_for_end([jobs.submit(f"good {len(times)}", fields=MODEL)])
            times.append(time.monotonic() - began)
        assert {jobs.error(job)["code"] for job in bad} == {"upstream_failed"}
        calls = sum("poison" in json.dumps(call.body["messages"]) for call in upstream.calls)
        measured("20 prompts that get a 500", calls=calls, **spread(times))
        # A job that was tried while its model was closed may get its three tries once more.
        assert 60 <= calls <= 80
        assert max(times) < 10


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_upstream_that_breaks_off_every_answer(directory: Path) -> None:
    """Fifty jobs whose answers break off after a clean 200 are not all asked again at once, nor beyond their three
    attempts."""
    with stack_with(directory, breaks) as (stack, upstream):
        jobs = Jobs(stack)
        for number in range(50):
            jobs.submit(f"broken {number}", fields={**MODEL, "timeout_s": 60})
        jobs.wait_for_end(within_s=120)
        early = len([call for call in upstream.calls if call.at - upstream.calls[0].at < 3])
        errors = [jobs.error(job.id) for job in jobs.accepted]
        measured("50 jobs, every answer breaks off", calls_in_3_s=early, calls=len(upstream.calls))
        assert early <= 60
        assert len(upstream.calls) <= 3 * 50
        assert all(error["retryable"] for error in errors)
        assert jobs.violations() == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "limits", "code"),
    [
        (silent, {"first_token_s": 4.0}, "first_token_timeout"),
        (stalls, {"between_tokens_s": 0.5}, "token_timeout"),
    ],
)
def test_upstream_that_falls_silent(directory: Path, script: Script, limits: dict[str, float], code: str) -> None:
    """The limit to the first token and the one between two end the job, and close the upstream's connection."""
    with stack_with(directory, script, limits=limits) as (stack, upstream):
        jobs = Jobs(stack)
        job = jobs.submit(fields=MODEL)
        jobs.wait_for_end()
        assert jobs.error(job)["code"] == code
        assert jobs.error(job)["retryable"] is True
        measured(f"upstream stalls ({code})", limit_s=sum(limits.values()), closed_s=closed_s(upstream))


@pytest.mark.slow
def test_upstream_that_never_ends(directory: Path) -> None:
    """An answer without an end is over at the job's deadline, and the connection closed."""

    def drips(call: Call) -> None:
        call.begin()
        while True:
            call.text("drip ")
            call.hold(0.05)

    with stack_with(directory, drips) as (stack, upstream), Crowd([web.url for web in stack.webs]) as crowd:
        jobs = Jobs(stack)
        job = jobs.submit(fields={**MODEL, "timeout_s": 2})
        readers = [crowd.follow(job, transport) for transport in TRANSPORTS if transport != "text"]
        jobs.wait_for_end()
        assert crowd.unfinished(10) == []
        assert jobs.error(job)["code"] == "deadline_exceeded"
        assert jobs.violations(readers) == []
        measured("upstream never ends", timeout_s=2, closed_s=closed_s(upstream))


@pytest.mark.slow
def test_upstream_that_is_away_until_the_deadline(directory: Path) -> None:
    """A 503 for ever is waited out as long as the job has time, visibly, and then the job fails, retryable."""
    with stack_with(directory, refuses(503, "busy")) as (stack, _upstream):
        jobs = Jobs(stack)
        asked = time.monotonic()
        job = jobs.submit(fields={**MODEL, "timeout_s": 4})
        jobs.wait_for_end()
        assert time.monotonic() - asked < 4 + 5
        kinds = jobs.kinds(job)
        assert kinds[:2] + kinds[-1:] == ["started", "waiting", "failed"]
        assert set(kinds[2:-1]) <= {"restarted", "waiting"}
        assert jobs.error(job)["code"] in ("upstream_unavailable", "deadline_exceeded")
        assert jobs.error(job)["retryable"] is True


@pytest.mark.slow
def test_upstream_that_rejects(shared: tuple[Stack, dict[str, ScriptedUpstream]]) -> None:
    """A prompt that the upstream rejects fails with the upstream's reason, not retryable."""
    jobs = Jobs(shared[0])
    job = jobs.submit(fields={"model": "strict"})
    jobs.wait_for_end()
    assert jobs.error(job)["code"] == "upstream_rejected"
    assert "too spicy" in jobs.error(job)["message"]
    assert jobs.error(job)["retryable"] is False


@pytest.mark.slow
def test_limit_of_running_jobs(directory: Path) -> None:
    """No more of a model's jobs run at a time than its limit allows, and all of them run."""

    def slow(call: Call) -> None:
        call.hold(0.3)
        says("x")(call)

    with stack_with(directory, slow, limits={"max_running": 2}) as (stack, upstream):
        jobs = Jobs(stack)
        for number in range(6):
            jobs.submit(f"limited {number}", fields=MODEL)
        jobs.wait_for_end()
        starts = sorted(call.at for call in upstream.calls)
        assert len(starts) == 6
        assert starts[2] - starts[0] > 0.25
        assert {jobs.field(job.id, "status") for job in jobs.accepted} == {"succeeded"}
