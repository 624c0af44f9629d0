"""Answers that lost their worker, of an upstream's model that is to go on from a partial answer: it does where that was
seen to work, and begins anew everywhere else."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.readers import Reading, read_sse, read_websocket
from tests.scripted_upstream import Script, ScriptedUpstream
from tests.stack import Stack, free_port, running_stack, wait_for
from tests.talking_model import COUNTING, TalkingModel

pytestmark = pytest.mark.slow
TEXT = "".join(COUNTING)
PAUSE_S = 0.03
"""For a token: so that there is time to kill a worker in the middle of an answer."""


@contextmanager
def stack_with(directory: Path, port: int) -> Iterator[Stack]:
    """A Spool with one worker, whose models file says of the upstream's model ``m`` that it continues."""
    upstream = ["[[upstream]]", 'name = "u"', f'url = "http://127.0.0.1:{port}/v1"']
    path = directory / "models.toml"
    path.write_text("\n".join([*upstream, "[[upstream.model]]", 'name = "m"', 'continue = "prefix"']))
    with running_stack(directory, webs=2, workers=1, MODELS_FILE=path) as stack:
        yield stack


def continues(stack: Stack) -> bool:
    """What callers are told of the model."""
    models = stack.client().get("/models").json()["models"]
    return bool(next(model["continues"] for model in models if model["name"] == "m"))


def lose_worker(stack: Stack, upstream: ScriptedUpstream, *then: Script) -> Reading:
    """A job whose worker is killed in the middle of its answer and started again, as readers see it that stay attached;
    ``then`` is what the upstream does from the kill on."""
    job = (
        stack.client().post("/jobs", json={"prompt": "Count.", "model": "m", "params": {"temperature": 0}}).json()["id"]
    )
    with ThreadPoolExecutor(2) as pool:
        readings = [
            pool.submit(read, web.url, job) for read, web in zip((read_sse, read_websocket), stack.webs, strict=True)
        ]
        wait_for(lambda: stack.client().get(f"/jobs/{job}").json()["last_entry"] > 15, "the middle of the answer")
        stack.workers[0].kill()
        if then:
            upstream.scripts[:] = then
        stack.workers[0].start()
        first, second = (reading.result(timeout=60) for reading in readings)
    assert first.raw == second.raw
    assert first.ids == list(range(1, len(first.ids) + 1))
    assert first.entries[-1]["kind"] == "done"
    assert first.text == TEXT
    return first


def openings(reading: Reading) -> list[tuple[str, str | None]]:
    """How its attempts began, and why."""
    kinds = ("started", "restarted", "continued")
    return [(entry["kind"], entry.get("reason")) for entry in reading.entries if entry["kind"] in kinds]


def test_upstream_that_comes_after_the_worker(directory: Path) -> None:
    """Away when the worker starts, the upstream is asked when it is there; from then on an answer that loses its worker
    goes on, to the text and the usage of an unbroken one."""
    port = free_port()
    with stack_with(directory, port) as stack:
        assert not continues(stack)
        with ScriptedUpstream(TalkingModel(style="prefix", pause_s=PAUSE_S), port=port) as upstream:
            wait_for(lambda: continues(stack), "the model is proven", 30)
            reading = lose_worker(stack, upstream)
            assert openings(reading) == [("started", None), ("continued", "worker_lost")]
            usage = [entry for entry in reading.entries if entry["kind"] == "usage"]
            assert [(entry["input_tokens"], entry["output_tokens"]) for entry in usage] == [(7, len(COUNTING))]


def test_upstream_that_says_the_text_again(directory: Path) -> None:
    """A model that was configured to continue, and does not, is published as one that does not: its answers begin
    anew."""
    with ScriptedUpstream(TalkingModel("repeats", "prefix", pause_s=PAUSE_S)) as upstream:
        port = int(upstream.url.split(":")[-1].split("/")[0])
        with stack_with(directory, port) as stack:
            wait_for(
                lambda: "does not continue partial answers" in stack.workers[0].output.read_text(), "the probe", 30
            )
            assert not continues(stack)
            assert openings(lose_worker(stack, upstream)) == [("started", None), ("restarted", "worker_lost")]


def test_upstream_that_was_replaced(directory: Path) -> None:
    """A proof does not outlive its server: where the one that is asked to go on does not, nothing of what it says gets
    into the answer, which begins anew."""
    good, bad = (TalkingModel(habit, "prefix", pause_s=PAUSE_S) for habit in ("joins", "greets"))
    with ScriptedUpstream(good) as upstream:
        port = int(upstream.url.split(":")[-1].split("/")[0])
        with stack_with(directory, port) as stack:
            wait_for(lambda: continues(stack), "the model is proven", 30)
            reading = lose_worker(stack, upstream, bad)
            assert openings(reading) == [
                ("started", None),
                ("continued", "worker_lost"),
                ("restarted", "cannot_continue"),
            ]
