"""Tasks of both protocols, as far as they need no job."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient
from pydantic import SecretStr

from spool.settings import WebSettings
from web.app import create_app
from web.mcp.tools import TOOLS

CORE, WITH_EXTENSION = "2025-11-25", "2026-07-28"
KNOWS = {"_meta": {"io.modelcontextprotocol/clientCapabilities": {"extensions": {"io.modelcontextprotocol/tasks": {}}}}}
SUBMIT: dict[str, Any] = {"name": "submit_job", "arguments": {"prompt": "x", "wait_s": 20}}


@pytest.fixture(scope="module")
def client() -> FlaskClient:
    """An application whose Redis does not answer."""
    return create_app(WebSettings(redis_url="redis://127.0.0.1:1")).test_client()


def asked(client: FlaskClient, version: str, method: str, **params: Any) -> dict[str, Any]:
    """The answer to a request of a client of this revision."""
    body = {"jsonrpc": "2.0", "id": 7, "method": method, "params": params}
    document: dict[str, Any] = client.post("/mcp", json=body, headers={"MCP-Protocol-Version": version}).json or {}
    return document


def test_who_may_ask_for_a_task(client: FlaskClient) -> None:
    """Tools tell it to clients of the revision that has tasks in its core."""
    tools = asked(client, CORE, "tools/list")["result"]["tools"]
    support = {tool["name"]: tool["execution"]["taskSupport"] for tool in tools}
    assert support == {name: "optional" if name == "submit_job" else "forbidden" for name in TOOLS}
    for version in ("", "2025-06-18", WITH_EXTENSION):
        assert "execution" not in asked(client, version, "tools/list")["result"]["tools"][0]


def test_extension_is_declared(client: FlaskClient) -> None:
    """Without a handshake, tasks are an extension."""
    found = asked(client, WITH_EXTENSION, "server/discover")["result"]["capabilities"]
    assert found == {"tools": {}, "extensions": {"io.modelcontextprotocol/tasks": {}}}


@pytest.mark.parametrize(
    ("version", "method", "params", "code"),
    [
        ("", "tasks/get", {"taskId": "j"}, -32601),
        ("2025-06-18", "tasks/list", {}, -32601),
        (CORE, "tasks/update", {"taskId": "j"}, -32601),
        (WITH_EXTENSION, "tasks/result", KNOWS, -32601),
        (WITH_EXTENSION, "tasks/list", KNOWS, -32601),
        (WITH_EXTENSION, "tasks/get", {"taskId": "j"}, -32021),
        (WITH_EXTENSION, "tasks/get", {"taskId": "j", "_meta": {"x": 1}}, -32021),
        (CORE, "tasks/get", {}, -32602),
        (CORE, "tasks/get", {"taskId": 5}, -32602),
        (CORE, "tasks/result", {"taskId": "j" * 65}, -32602),
        (CORE, "tasks/list", {"cursor": "x"}, -32602),
        (CORE, "tasks/get", {"taskId": "j"}, -32602),
        (CORE, "tasks/list", {}, -32603),
        (CORE, "tools/call", {"name": "list_models", "task": {}}, -32601),
        (CORE, "tools/call", {"name": "submit_job", "arguments": {}, "task": {}}, -32602),
        (CORE, "tools/call", {**SUBMIT, "task": {}}, -32603),
    ],
)
def test_refused(client: FlaskClient, version: str, method: str, params: dict[str, Any], code: int) -> None:
    """A method of the other protocol is unknown; a wrong task and a call that becomes none are errors."""
    assert asked(client, version, method, **params)["error"]["code"] == code


def test_missing_capability_is_named(client: FlaskClient) -> None:
    """A client that does not declare the extension is told which."""
    error = asked(client, WITH_EXTENSION, "tasks/cancel", taskId="j")["error"]
    assert error["data"] == {"requiredCapabilities": {"extensions": {"io.modelcontextprotocol/tasks": {}}}}


def test_call_that_becomes_no_task(client: FlaskClient) -> None:
    """Where no task was asked for, it is a result, as without tasks."""
    for version, params in (("", {"task": {}}), (WITH_EXTENSION, KNOWS), (CORE, {})):
        result = asked(client, version, "tools/call", **{**SUBMIT, **params})["result"]
        assert result["isError"] is True, version
        assert "Store unavailable" in result["content"][0]["text"]


def test_scope_of_a_cancel() -> None:
    """A key that may only read jobs cancels none."""
    settings = WebSettings(redis_url="redis://127.0.0.1:1", api_keys=SecretStr("ada:jobs:read=secret-0123456789"))
    client = create_app(settings).test_client()
    for version, more in ((CORE, {}), (WITH_EXTENSION, KNOWS)):
        body = {"jsonrpc": "2.0", "id": 1, "method": "tasks/cancel", "params": {"taskId": "j", **more}}
        headers = {"Authorization": "Bearer secret-0123456789", "MCP-Protocol-Version": version}
        error = (client.post("/mcp", json=body, headers=headers).json or {})["error"]
        assert (error["code"], "jobs:write" in error["message"]) == (-32602, True)
