"""MCP's client for Python against a Spool, with and without a handshake: ``mcp_client.py URL OTHER_URL``."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from cases import report
from mcp.client import Client

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


report(tools, submit_and_get, cancel, failure)
