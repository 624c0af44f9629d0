"""An OpenAI-compatible upstream through web, worker and Redis: what it does wrong, and what its callers see."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.readers import READERS, Reading, read_sse
from tests.scripted_upstream import Call, Script, ScriptedUpstream, refuses, says
from tests.stack import Stack, running_stack, wait_for


@contextmanager
def stack_with(directory: Path, *scripts: Script, **limits: float) -> Iterator[tuple[Stack, ScriptedUpstream]]:
    """A Spool whose models file names a scripted upstream's model ``m``, with these limits."""
    with ScriptedUpstream(*scripts) as upstream:
        lines = [f"{name} = {value}" for name, value in limits.items()]
        models = ["[[upstream]]", 'name = "u"', f'url = "{upstream.url}"', "[[upstream.model]]", 'name = "m"', *lines]
        path = directory / "models.toml"
        path.write_text("\n".join(models))
        with running_stack(directory, webs=2, workers=1, MODELS_FILE=path) as stack:
            yield stack, upstream


def submit(stack: Stack, **fields: object) -> str:
    """A job for the upstream's model."""
    answer = stack.client().post("/jobs", json={"prompt": "hello", "model": "m", **fields})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def kinds(reading: Reading) -> list[str]:
    """The kinds of its entries, neighbours of one kind as one."""
    found: list[str] = []
    for entry in reading.entries:
        if not found or found[-1] != entry["kind"]:
            found.append(entry["kind"])
    return found


def test_upstream_that_refuses_at_first(directory: Path) -> None:
    """A 429 is waited out, visibly, and the answer follows on every transport."""
    with stack_with(directory, refuses(429, Retry_After="1"), says("Hel", "lo", usage=(3, 2))) as (stack, upstream):
        job = submit(stack)
        reading = read_sse(stack.webs[1].url, job)
        assert kinds(reading) == ["started", "waiting", "token", "usage", "done"]
        assert reading.text == "Hello"
        assert len(upstream.calls) == 2
        for read in READERS.values():
            assert read(stack.webs[0].url, job).entries == reading.entries
        assert stack.client().get(f"/jobs/{job}").json()["usage"] == {"input_tokens": 3, "output_tokens": 2}


def test_cancel_closes_the_upstream_connection(directory: Path) -> None:
    """Within a second of a cancel the upstream sees its client go, in the middle of an answer and before its first
    byte alike."""

    def silent(call: Call) -> None:
        call.hold()

    def stalls(call: Call) -> None:
        call.begin()
        call.text("Hel")
        call.hold()

    with stack_with(directory, silent, stalls) as (stack, upstream):
        for number in (1, 2):
            job = submit(stack)
            call = upstream.wait_for_call(number)
            if number == 2:
                read_sse(stack.webs[1].url, job, stop_after=2)
            asked = time.monotonic()
            stack.client(1).post(f"/jobs/{job}/cancel")
            wait_for(lambda call=call: call.gone_at, "the upstream sees it", 5)  # type: ignore[misc]
            assert call.gone_at is not None
            assert call.gone_at - asked < 1.0
            assert read_sse(stack.webs[0].url, job).entries[-1]["kind"] == "cancelled"


def test_upstream_that_dies_mid_answer(directory: Path) -> None:
    """An answer that breaks off is begun anew, announced by ``restarted``; its first text does not count."""

    def breaks(call: Call) -> None:
        call.begin()
        call.text("Wro")
        call.drop()

    with stack_with(directory, breaks, says("Right")) as (stack, _upstream):
        reading = read_sse(stack.webs[0].url, submit(stack))
        assert kinds(reading) == ["started", "token", "restarted", "token", "done"]
        assert reading.text == "Right"


def test_upstream_that_dies_mid_answer_of_a_job_that_cannot_restart(directory: Path) -> None:
    """With ``on_worker_loss: fail`` and text already said, such a job fails, retryable, in the log itself."""

    def breaks(call: Call) -> None:
        call.begin()
        call.text("Wro")
        call.drop()

    with stack_with(directory, breaks) as (stack, _upstream):
        reading = read_sse(stack.webs[0].url, submit(stack, on_worker_loss="fail"))
        assert kinds(reading) == ["started", "token", "failed"]
        assert reading.entries[-1]["error"]["retryable"] is True


def test_upstream_that_falls_silent(directory: Path) -> None:
    """The limit between two tokens ends the job, and closes the upstream's connection."""

    def stalls(call: Call) -> None:
        call.begin()
        call.text("Hel")
        call.hold()

    with stack_with(directory, stalls, between_tokens_s=0.5) as (stack, upstream):
        reading = read_sse(stack.webs[0].url, submit(stack))
        assert reading.entries[-1]["error"]["code"] == "token_timeout"
        wait_for(lambda: upstream.calls[0].gone_at, "the upstream sees it", 2)


def test_limit_of_running_jobs(directory: Path) -> None:
    """No more of a model's jobs run at a time than its limit allows, and all of them run."""

    def slow(call: Call) -> None:
        call.hold(0.3)
        says("x")(call)

    with stack_with(directory, slow, max_running=2) as (stack, upstream):
        jobs = [submit(stack) for _ in range(6)]
        for job in jobs:
            assert read_sse(stack.webs[0].url, job).text == "x"
        starts = sorted(call.at for call in upstream.calls)
        assert len(starts) == 6
        assert starts[2] - starts[0] > 0.25


def test_upstream_that_rejects(directory: Path) -> None:
    """A prompt that the upstream rejects fails with the upstream's reason, not retryable."""
    with stack_with(directory, refuses(400, "too spicy")) as (stack, _upstream):
        error = read_sse(stack.webs[0].url, submit(stack)).entries[-1]["error"]
        assert error["code"] == "upstream_rejected"
        assert "too spicy" in error["message"]
        assert error["retryable"] is False
