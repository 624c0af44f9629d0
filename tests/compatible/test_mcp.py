"""``/mcp`` as MCP's own clients for Python and Node see it, unmodified."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.compatible.applications import run
from tests.compatible.node_runtime import run_node
from tests.stack import Stack, wait_for

PYTHON = Path(__file__).with_name("apps") / "mcp_client.py"
PYTHON_CASES = ("tools", "submit_and_get", "cancel", "failure")
NODE_CASES = ("tools", "a job to its end", "cancel", "failure")


@pytest.fixture(scope="module")
def in_python(stack: Stack) -> dict[str, str | None]:
    """The outcome of each case: null, or its error."""
    outcomes: dict[str, str | None] = json.loads(run(PYTHON, *(web.url for web in stack.webs), needs="mcp").stdout)
    assert set(outcomes) == set(PYTHON_CASES)
    return outcomes


@pytest.fixture(scope="module")
def in_node(stack: Stack) -> dict[str, str | None]:
    """The same in Node."""
    outcomes: dict[str, str | None] = run_node("mcp.mjs", stack.webs[0].url)
    assert set(outcomes) == set(NODE_CASES)
    return outcomes


@pytest.mark.slow
@pytest.mark.parametrize("case", PYTHON_CASES)
def test_python(in_python: dict[str, str | None], case: str) -> None:
    """The client gets what its users expect of it, with a handshake and without."""
    assert in_python[case] is None, in_python[case]


@pytest.mark.slow
@pytest.mark.parametrize("case", NODE_CASES)
def test_node(in_node: dict[str, str | None], case: str) -> None:
    """The client gets what its users expect of it."""
    assert in_node[case] is None, in_node[case]


def test_job_to_its_end(stack: Stack) -> None:
    """A call that submits and waits has the whole answer, and the job is the owner's as any other."""
    arguments = {"prompt": "Hi", "params": {"tokens": 5, "rate": 0}, "wait_s": 30}
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "submit_job", "arguments": arguments}}
    result = stack.client(0).post("/mcp", json=call).json()["result"]["structuredContent"]
    kept = stack.client(1).get(f"/jobs/{result['job']}").json()
    assert (result["status"], result["text"], result["text_is_complete"]) == ("succeeded", kept["text"], True)


def test_batch(stack: Stack) -> None:
    """Prompts that are submitted together are jobs of one batch, whose answers ``get_job`` has, at any web."""

    def called(web: int, name: str, **arguments: Any) -> Any:
        params = {"name": name, "arguments": arguments}
        call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        result = stack.client(web).post("/mcp", json=call).json()["result"]
        assert not result["isError"], result
        return result["structuredContent"]

    batch = called(0, "submit_batch", prompts=["one", "two", "three"], params={"tokens": 3, "rate": 0})
    ended = wait_for(lambda: (seen := called(1, "get_batch", batch=batch["batch"]))["ended"] and seen, "it ends")
    assert (ended["counts"], ended["usage"]["output_tokens"]) == ({"succeeded": 3}, 9)
    answers = [called(1, "get_job", job=job) for job in batch["jobs"]]
    assert [answer["status"] for answer in answers] == ["succeeded"] * 3
    endless = called(0, "submit_batch", prompts=["x"], params={"tokens": 5000, "rate": 40})
    called(1, "cancel_batch", batch=endless["batch"])
    assert wait_for(lambda: called(0, "get_batch", batch=endless["batch"])["ended"], "it is cancelled")
