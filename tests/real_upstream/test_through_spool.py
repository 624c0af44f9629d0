"""A prompt to a real OpenAI-compatible server that is not ours, through Celery and Redis to every transport."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest

from spool.models.model import Upstream
from tests.readers import READERS, read_plain_answer, read_sse, read_text, read_text_websocket
from tests.stack import Stack, running_stack, wait_for


@pytest.fixture(scope="module")
def spool(short_dir: Path, upstream: Upstream) -> Iterator[Stack]:
    """A Spool whose upstream is the real server: nothing but its URL is said."""
    directory = Path(mkdtemp(dir=short_dir))
    with running_stack(directory, UPSTREAM_URL=upstream.url) as stack:
        client = stack.client()
        wait_for(lambda: client.get("/models").json()["default"] != "demo", "the upstream's model is discovered")
        yield stack


def submit(stack: Stack, **params: Any) -> str:
    """A job for the upstream's model, greedy."""
    body = {"prompt": "What is a spool?", "params": {"temperature": 0, "max_tokens": 150, **params}}
    answer = stack.client().post("/jobs", json=body)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def test_real_answer_on_every_transport(spool: Stack) -> None:
    """While the model writes, every transport streams its answer; all end with the same entries and text."""
    job = submit(spool)
    with ThreadPoolExecutor(10) as pool:
        readings = [pool.submit(read, spool.webs[n % 2].url, job) for n, read in enumerate(READERS.values())]
        plain = pool.submit(read_text, spool.webs[1].url, job)
        socket = pool.submit(read_text_websocket, spool.webs[0].url, job)
        golden = read_plain_answer(spool.webs[0].url, job)
        results = [reading.result() for reading in readings]
        assert plain.result() == socket.result() == golden
    assert len(golden) > 100
    assert len([entry for entry in results[0].entries if entry["kind"] == "token"]) > 20
    for reading in results:
        assert reading.raw == results[0].raw
        assert reading.text == golden
        assert reading.entries[-1]["kind"] == "done"
        assert reading.entries[-1]["finish_reason"] == "length"
    ended = spool.client().get(f"/jobs/{job}").json()
    assert ended["usage"]["output_tokens"] == 150


def test_real_answer_is_the_same_twice(spool: Stack) -> None:
    """A greedy answer does not depend on which web and worker it went through."""
    texts = {read_sse(spool.webs[n % 2].url, submit(spool)).text for n in range(2)}
    assert len(texts) == 1


def test_real_answer_that_is_cancelled_frees_the_server(spool: Stack) -> None:
    """A cancel ends the generation at the server, which answers one prompt at a time."""
    client = spool.client()
    long = submit(spool, max_tokens=8000)
    wait_for(lambda: client.get(f"/jobs/{long}").json()["last_entry"] > 5, "the answer has begun", 30)
    client.post(f"/jobs/{long}/cancel")
    wait_for(lambda: client.get(f"/jobs/{long}").json()["status"] == "cancelled", "it is cancelled", 1.0)
    assert read_sse(spool.webs[0].url, submit(spool, max_tokens=5)).entries[-1]["kind"] == "done"
