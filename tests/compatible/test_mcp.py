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
PYTHON_CASES = ("tools", "submit_and_get", "cancel", "failure", "task", "task_of_the_extension")
NODE_CASES = (
    "tools",
    "a job to its end",
    "cancel",
    "failure",
    "a task",
    "a task that is cancelled",
    "a task that fails",
)


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


def asked(stack: Stack, version: str, method: str, **params: Any) -> dict[str, Any]:
    """The result of a request of this revision."""
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    answer = stack.client().post("/mcp", json=body, headers={"MCP-Protocol-Version": version}).json()
    assert "error" not in answer, answer
    found: dict[str, Any] = answer["result"]
    return found


def test_task(stack: Stack) -> None:
    """A task is the job: it works until that ends, and then its result is the answer of the tool."""
    arguments = {"prompt": "Hi", "params": {"tokens": 5, "rate": 0}}
    call = {"name": "submit_job", "arguments": arguments, "task": {"ttl": 1000}}
    task = asked(stack, "2025-11-25", "tools/call", **call)["task"]
    result = asked(stack, "2025-11-25", "tasks/result", taskId=task["taskId"])
    assert result["_meta"]["io.modelcontextprotocol/related-task"] == {"taskId": task["taskId"]}
    assert (result["isError"], result["structuredContent"]["job"]) == (False, task["taskId"])
    ended = asked(stack, "2025-11-25", "tasks/get", taskId=task["taskId"])
    job = stack.client().get(f"/jobs/{task['taskId']}").json()
    assert (ended["status"], ended["createdAt"], ended["lastUpdatedAt"]) == (
        "completed",
        job["created_at"],
        job["ended_at"],
    )
    assert task["taskId"] in [each["taskId"] for each in asked(stack, "2025-11-25", "tasks/list")["tasks"]]


def test_task_in_place_of_a_wait(stack: Stack) -> None:
    """A client that declares the extension gets a task where it would wait, and else the answer at once."""
    meta = {"io.modelcontextprotocol/clientCapabilities": {"extensions": {"io.modelcontextprotocol/tasks": {}}}}
    arguments = {"prompt": "Hi", "params": {"tokens": 5000, "rate": 40}}
    call = {"name": "submit_job", "_meta": meta}
    task = asked(stack, "2026-07-28", "tools/call", arguments={**arguments, "wait_s": 50}, **call)
    assert (task["resultType"], task["status"]) == ("task", "working")
    at_once = asked(stack, "2026-07-28", "tools/call", arguments=arguments, **call)
    assert (at_once["resultType"], at_once["isError"]) == ("complete", False)
    for task_id in (task["taskId"], at_once["structuredContent"]["job"]):
        assert asked(stack, "2026-07-28", "tasks/update", taskId=task_id, inputResponses={}, _meta=meta)
        assert asked(stack, "2026-07-28", "tasks/cancel", taskId=task_id, _meta=meta) == {"resultType": "complete"}
        found = asked(stack, "2026-07-28", "tasks/get", taskId=task_id, _meta=meta)
        assert (found["status"], "result" in found, found["resultType"]) == ("cancelled", False, "complete")
