"""``/api`` as Ollama's clients for Python and JavaScript see it, unmodified but for their host."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.compatible.applications import run
from tests.compatible.node_runtime import run_node
from tests.scripted_upstream import ScriptedUpstream
from tests.stack import Stack

PYTHON = Path(__file__).with_name("apps") / "ollama_client.py"
PYTHON_CASES = ("chat", "chat_stream", "tools", "generate", "failure", "models")
NODE_CASES = ("chat", "a stream", "generate", "failure", "models")


@pytest.fixture(scope="module")
def url(stack_and_upstreams: tuple[Stack, dict[str, ScriptedUpstream]]) -> str:
    """The address of a Spool before scripted upstreams."""
    return stack_and_upstreams[0].webs[0].url


@pytest.fixture(scope="module")
def in_python(url: str) -> dict[str, str | None]:
    """The outcome of each case: null, or its error."""
    outcomes: dict[str, str | None] = json.loads(run(PYTHON, url, needs="ollama").stdout)
    assert set(outcomes) == set(PYTHON_CASES)
    return outcomes


@pytest.fixture(scope="module")
def in_node(url: str) -> dict[str, str | None]:
    """The same in Node."""
    outcomes: dict[str, str | None] = run_node("ollama.mjs", url)
    assert set(outcomes) == set(NODE_CASES)
    return outcomes


@pytest.mark.slow
@pytest.mark.parametrize("case", PYTHON_CASES)
def test_python(in_python: dict[str, str | None], case: str) -> None:
    """The client gets what its users expect of it."""
    assert in_python[case] is None, in_python[case]


@pytest.mark.slow
@pytest.mark.parametrize("case", NODE_CASES)
def test_node(in_node: dict[str, str | None], case: str) -> None:
    """The client gets what its users expect of it."""
    assert in_node[case] is None, in_node[case]


def test_wire(stack: Stack) -> None:
    """A body of any media type makes a job, whose lines add up to its text; the whole answer is the same."""
    body = {"model": "demo", "prompt": "Hi", "options": {"num_predict": 5}, "rate": 0}
    streamed = stack.client(0).post("/api/generate", content=json.dumps(body))
    assert streamed.headers["Content-Type"] == "application/x-ndjson"
    lines = [json.loads(line) for line in streamed.text.splitlines()]
    kept = stack.client(1).get(f"/jobs/{streamed.headers['X-Spool-Job']}").json()
    assert "".join([line["response"] for line in lines]) == kept["text"]
    assert (lines[-1]["done"], lines[-1]["done_reason"], lines[-1]["eval_count"]) == (True, "length", 5)
    whole = stack.client(0).post("/api/generate", json={**body, "stream": False}).json()
    assert (whole["response"], whole["eval_count"]) == (kept["text"], 5)
    assert whole["total_duration"] >= whole["eval_duration"] > 0
