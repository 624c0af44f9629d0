"""MCP's client for Python against a Spool, with and without a handshake: ``mcp_client.py URL OTHER_URL``."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Any, Literal

import httpx
import mcp_types as types
from cases import report
from mcp.client import Client
from mcp.client.extension import ClaimContext, ClientExtension, ResultClaim
from mcp_types import _v2025_11_25 as shapes
from pydantic import TypeAdapter

URL, OTHER = (f"{url}/mcp" for url in sys.argv[1:])
MODES = ("auto", "legacy")


async def called(client: Client, name: str, **arguments: Any) -> dict[str, Any]:
    """The structured result of a tool that succeeds."""
    result = await client.call_tool(name, arguments)
    assert not result.is_error, result
    return result.structured_content


def in_each_mode(case: Callable[[str], Coroutine[Any, Any, None]]) -> None:
    """Run the case in both."""
    for mode in MODES:
        asyncio.run(case(mode))


def tools() -> None:
    """The tools are listed with their arguments."""

    async def case(mode: str) -> None:
        async with Client(URL, mode=mode) as client:
            names = [tool.name for tool in (await client.list_tools()).tools]
            assert names[:4] == ["submit_job", "get_job", "cancel_job", "list_models"], names
            assert "demo" in (await called(client, "list_models"))["models"]

    in_each_mode(case)


def submit_and_get() -> None:
    """A job that one client submits ends while another waits for it, at another web."""

    async def case(mode: str) -> None:
        async with Client(URL, mode=mode) as client:
            params = {"tokens": 20, "rate": 40}
            begun = await called(client, "submit_job", prompt="Hi", model="demo", params=params)
        async with Client(OTHER, mode=mode) as client:
            ended = await called(client, "get_job", job=begun["job"], wait_s=30)
        assert (ended["status"], ended["text_is_complete"]) == ("succeeded", True), ended
        assert ended["usage"]["output_tokens"] == 20

    in_each_mode(case)


def cancel() -> None:
    """A job is cancelled."""

    async def case(mode: str) -> None:
        async with Client(URL, mode=mode) as client:
            job = (await called(client, "submit_job", prompt="Hi", params={"tokens": 5000, "rate": 40}))["job"]
            await called(client, "cancel_job", job=job)
            assert (await called(client, "get_job", job=job, wait_s=30))["status"] == "cancelled"

    in_each_mode(case)


def failure() -> None:
    """A call that fails has its cause in its result."""

    async def case(mode: str) -> None:
        async with Client(URL, mode=mode) as client:
            result = await client.call_tool("get_job", {"job": "j0-" + "0" * 26})
            assert result.is_error
            assert "no such job" in result.content[0].text

    in_each_mode(case)


def task() -> None:
    """Tasks of revision 2025-11-25, for which this client has shapes and no calls, fit its shapes."""
    call = {"name": "submit_job", "arguments": {"prompt": "Hi", "params": {"tokens": 5, "rate": 0}}}
    begun = shaped(shapes.CreateTaskResult, "tools/call", **call, task={})
    task_id = {"taskId": begun.task.task_id}
    result = shaped(shapes.CallToolResult, "tasks/result", **task_id)
    assert result.structured_content["usage"]["output_tokens"] == 5, result
    assert shaped(shapes.GetTaskResult, "tasks/get", **task_id).status == "completed"
    listed = shaped(shapes.ListTasksResult, "tasks/list")
    assert begun.task.task_id in [each.task_id for each in listed.tasks]
    more = shaped(shapes.CreateTaskResult, "tools/call", **call | {"arguments": {"prompt": "x"}}, task={"ttl": 5})
    assert shaped(shapes.CancelTaskResult, "tasks/cancel", taskId=more.task.task_id).status == "cancelled"


def shaped(shape: Any, method: str, **params: Any) -> Any:
    """The result of a request, by the schema of that revision."""
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    headers = {"MCP-Protocol-Version": "2025-11-25"}
    answer = httpx.post(URL, json=body, headers=headers, timeout=30, trust_env=False).json()
    return shape.model_validate(answer["result"], by_name=False)


class Asked(types.Request[dict[str, Any], str]):
    """A request that the client has no class for."""


class TaskBegun(types.Result):
    """The extension's CreateTaskResult."""

    result_type: Literal["task"] = "task"
    task_id: str
    status: str
    created_at: str
    ttl_ms: int | None
    poll_interval_ms: int


class TasksExtension(ClientExtension):
    """The extension as a client has it: a task is polled to its end."""

    identifier = "io.modelcontextprotocol/tasks"

    def claims(self) -> list[ResultClaim[TaskBegun]]:
        """A task in place of a result."""
        return [ResultClaim(result_type="task", model=TaskBegun, resolve=self.resolve)]

    async def resolve(self, begun: TaskBegun, context: ClaimContext) -> types.CallToolResult:
        """The result at the task's end."""
        polls = 0
        while True:
            asked = Asked(method="tasks/get", params={"taskId": begun.task_id})
            found = await context.session.send_request(asked, TypeAdapter(dict[str, Any]))
            if found["status"] == "completed":
                self.polls = polls
                return types.CallToolResult.model_validate(found["result"], by_name=False)
            assert found["status"] == "working", found
            polls += 1
            await asyncio.sleep(0.1)


def task_of_the_extension() -> None:
    """Without a handshake, a client that declares tasks gets one in place of a wait, and its answer by polling."""

    async def case() -> None:
        extension = TasksExtension()
        async with Client(URL, extensions=[extension]) as client:
            params = {"tokens": 20, "rate": 40}
            ended = await called(client, "submit_job", prompt="Hi", params=params, wait_s=1)
            assert (ended["status"], ended["usage"]["output_tokens"]) == ("succeeded", 20), ended
            assert extension.polls > 0

    asyncio.run(case())


report(tools, submit_and_get, cancel, failure, task, task_of_the_extension)
