"""The stand-in for a model server, in C and in Python."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from bench.compiler import program
from bench.stand_in_process import StandIn
from tests.loopback import NO_CERTIFICATES


@pytest.fixture(params=["c", "python"])
def stand_in(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StandIn]:
    """It listens."""
    process = StandIn(tmp_path)
    if request.param == "python":
        process.argv = [sys.executable, "-m", "bench.stand_in", str(process.port)]
    elif program("stand_in") is None:
        pytest.skip("no C compiler")
    process.env = {**os.environ}
    process.start()
    yield process
    process.close()


def test_streams_stamped_tokens_and_the_end(stand_in: StandIn) -> None:
    """As many tokens as asked for, due in turn, then the finish and [DONE]; and again on the same connection."""
    with httpx.Client(verify=NO_CERTIFICATES) as client:
        assert client.get(f"{stand_in.url}/models").json()["data"][0]["id"] == "stand-in"
        for tokens in (20, 3):
            body = {"model": "stand-in", "stream": True, "max_tokens": 7, "tokens": tokens, "rate": 1000}
            answer = client.post(f"{stand_in.url}/chat/completions", json=body)
            assert answer.headers["content-type"] == "text/event-stream"
            *chunks, done = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line]
            choices = [json.loads(chunk)["choices"][0] for chunk in chunks]
            assert done == "[DONE]"
            assert choices[-1] == {"index": 0, "delta": {}, "finish_reason": "stop"}
            due = [int(choice["delta"]["content"]) for choice in choices[:-1]]
            # In Python the time of each is rounded by itself.
            assert [later - due[0] for later in due] == pytest.approx([n * 1000 for n in range(tokens)], abs=1)
