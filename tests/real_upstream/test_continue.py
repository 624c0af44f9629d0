"""An answer of a real server that loses its worker to SIGKILL: it goes on, to the text of one unbroken greedy run."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from spool.models.model import Upstream
from tests.readers import Reading, read_sse, read_text, read_websocket
from tests.stack import Stack, running_stack, wait_for

TOKENS = 2500
"""Some seconds of the tiny model's time; each is one character."""
LEASE_S = 2


@contextmanager
def stack_with(directory: Path, upstream: Upstream) -> Iterator[Stack]:
    """A Spool whose models file says how the server goes on, once a worker has seen that it does."""
    upstream_lines = ["[[upstream]]", 'name = "real"', f'url = "{upstream.url}"']
    model_lines = ["[[upstream.model]]", 'name = "tiny"', 'upstream_model = "spool/tiny"', 'continue = "assistant"']
    path = directory / "models.toml"
    path.write_text("\n".join([*upstream_lines, *model_lines]))
    with running_stack(directory, webs=2, workers=1, LEASE_S=LEASE_S, MODELS_FILE=path) as stack:
        client = stack.client()
        wait_for(lambda: client.get("/models").json()["models"][0]["continues"], "the model is proven", 60)
        yield stack


def submit(stack: Stack) -> str:
    """A greedy job of a fixed number of tokens."""
    body = {"prompt": "What is a spool?", "model": "tiny", "params": {"temperature": 0, "max_tokens": TOKENS}}
    answer = stack.client().post("/jobs", json=body)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def kill_at(stack: Stack, job: str, entries: int) -> float:
    """SIGKILL to the only worker when the log has so many entries, and a new one at once; seconds to the next
    attempt."""
    client = stack.client()
    wait_for(lambda: client.get(f"/jobs/{job}").json()["last_entry"] > entries, f"{entries} entries", 60)
    attempt = client.get(f"/jobs/{job}").json()["attempt"]
    stack.workers[0].kill()
    killed = time.monotonic()
    stack.workers[0].start()
    wait_for(lambda: client.get(f"/jobs/{job}").json()["attempt"] > attempt, "the next attempt", 60)
    return time.monotonic() - killed


@pytest.mark.parametrize("kills", [(600,), (300, 1400)], ids=["once", "twice"])
def test_real_answer_goes_on_after_sigkill(directory: Path, upstream: Upstream, kills: tuple[int, ...]) -> None:
    """The text before the kill and the text after it are together that of an unbroken run, as are usage and end;
    readers on SSE and WebSocket, and one of the bare text, see it all on the one connection that they began with."""
    with stack_with(directory, upstream) as stack, ThreadPoolExecutor(3) as pool:
        golden = read_sse(stack.webs[0].url, submit(stack))
        assert len(golden.text) == TOKENS
        job = submit(stack)
        readings: list[Future[Reading]] = [
            pool.submit(read, web.url, job) for read, web in zip((read_sse, read_websocket), stack.webs, strict=True)
        ]
        plain = pool.submit(read_text, stack.webs[0].url, job)
        recovered_s = [kill_at(stack, job, entries) for entries in kills]
        first, second = (reading.result(timeout=60) for reading in readings)
        assert plain.result(timeout=60) == golden.text
    assert first.raw == second.raw
    assert first.ids == list(range(1, len(first.ids) + 1))
    assert openings(first) == ["started", *(["continued"] * len(kills))]
    parts = text_of_attempts(first)
    print(f"{' + '.join(str(len(part)) for part in parts)} characters; next attempt after {recovered_s} s")
    assert all(parts)
    assert "".join(parts) == first.text == golden.text
    for kind in ("usage", "done"):
        (ours,) = (entry for entry in first.entries if entry["kind"] == kind)
        (theirs,) = (entry for entry in golden.entries if entry["kind"] == kind)
        assert {**ours, "id": 0, "at": 0} == {**theirs, "id": 0, "at": 0}


def openings(reading: Reading) -> list[str]:
    """How each attempt began."""
    return [entry["kind"] for entry in reading.entries if "attempt" in entry]


def text_of_attempts(reading: Reading) -> list[str]:
    """What each attempt said."""
    parts: list[str] = []
    for entry in reading.entries:
        if "attempt" in entry:
            parts.append("")
        elif entry["kind"] == "token":
            parts[-1] += entry["text"]
    return parts
