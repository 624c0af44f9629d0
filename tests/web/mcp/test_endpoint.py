"""One request of an MCP client, and its answer."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient
from pydantic import SecretStr

from spool.settings import WebSettings
from web.app import create_app
from web.mcp.endpoint import VERSIONS
from web.mcp.tools import TOOLS


@pytest.fixture(scope="module")
def client() -> FlaskClient:
    """An application whose Redis does not answer."""
    return create_app(WebSettings(redis_url="redis://127.0.0.1:1")).test_client()


def asked(client: FlaskClient, method: str, **params: Any) -> dict[str, Any]:
    """The answer to a request."""
    answer = client.post("/mcp", json={"jsonrpc": "2.0", "id": 7, "method": method, "params": params})
    assert answer.status_code == 200
    document: dict[str, Any] = answer.json or {}
    assert (document["jsonrpc"], document["id"]) == ("2.0", 7)
    return document


@pytest.mark.parametrize(
    ("wanted", "version"),
    [("2025-06-18", "2025-06-18"), ("1999-01-01", VERSIONS[1]), (None, VERSIONS[1]), (VERSIONS[0], VERSIONS[1])],
    ids=["known", "unknown", "none", "without-handshake"],
)
def test_handshake(client: FlaskClient, wanted: str | None, version: str) -> None:
    """A client gets the revision that it wants, or else the newest that has a handshake."""
    result = asked(client, "initialize", protocolVersion=wanted)["result"]
    assert (result["protocolVersion"], result["serverInfo"]["name"]) == (version, "spool")
    assert "tools" in result["capabilities"]
    assert ("tasks" in result["capabilities"]) == (version == "2025-11-25")


def test_tools_are_listed(client: FlaskClient) -> None:
    """Each tool has its arguments as a JSON Schema."""
    tools = asked(client, "tools/list")["result"]["tools"]
    assert [tool["name"] for tool in tools] == [*TOOLS]
    assert "prompt" in tools[0]["inputSchema"]["required"]
    assert asked(client, "ping")["result"] == {"resultType": "complete"}


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [("resources/list", {}, -32601), ("tools/call", {"name": "rm"}, -32602), ("tools/call", {"name": []}, -32602)],
    ids=["method", "tool", "name"],
)
def test_unknown(client: FlaskClient, method: str, params: dict[str, Any], code: int) -> None:
    """An unknown method or tool is an error of JSON-RPC."""
    assert asked(client, method, **params)["error"]["code"] == code


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("submit_job", {}, "arguments.prompt"),
        ("submit_job", {"prompt": "x", "model": "none"}, "no model 'none'"),
        ("submit_job", {"prompt": "x", "wait_s": 1000}, "arguments.wait_s"),
        ("submit_job", {"prompt": "x"}, "Store unavailable"),
        ("submit_batch", {"prompts": []}, "arguments.prompts"),
        ("submit_batch", {"prompts": ["x", "y"], "model": "none"}, "no model 'none'"),
        ("submit_batch", {"prompts": ["x"] * 1001}, "arguments.prompts"),
        ("get_job", {"job": 5}, "arguments.job"),
        ("list_models", {"x": 1}, "arguments.x"),
    ],
    ids=["without", "model", "wait", "redis", "no-prompts", "batch-model", "prompts", "type", "unknown"],
)
def test_failed_call(client: FlaskClient, name: str, arguments: dict[str, Any], said: str) -> None:
    """A call that fails is a result, so that the model reads the cause."""
    result = asked(client, "tools/call", name=name, arguments=arguments)["result"]
    assert result["isError"] is True
    assert said in result["content"][0]["text"]


def test_notification(client: FlaskClient) -> None:
    """A notification and a response have no answer."""
    for message in ({"method": "notifications/initialized"}, {"id": 1, "result": {}}):
        answer = client.post("/mcp", json={"jsonrpc": "2.0", **message})
        assert (answer.status_code, answer.data) == (202, b"")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [("{", 422, -32602), ("[]", 422, -32602), ('{"jsonrpc":"1.0","id":1,"method":"ping"}', 422, -32602)],
    ids=["broken", "list", "version"],
)
def test_wrong_request(client: FlaskClient, body: str, status: int, code: int) -> None:
    """A body that is no request is refused in JSON-RPC's shape."""
    answer = client.post("/mcp", data=body, content_type="application/json")
    assert (answer.status_code, (answer.json or {})["error"]["code"]) == (status, code)


def test_other_methods(client: FlaskClient) -> None:
    """The server opens no streams and keeps no sessions: 405, as the transport wants it."""
    assert client.get("/mcp").status_code == client.delete("/mcp").status_code == 405


def test_scope_of_a_tool() -> None:
    """A key that may only read jobs submits none, and sees no models."""
    settings = WebSettings(redis_url="redis://127.0.0.1:1", api_keys=SecretStr("ada:jobs:read=secret-0123456789"))
    client = create_app(settings).test_client()
    headers = {"Authorization": "Bearer secret-0123456789"}
    for name, arguments in (("submit_job", {"prompt": "x"}), ("cancel_job", {"job": "j"}), ("list_models", {})):
        call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "arguments": arguments}}
        result = (client.post("/mcp", json=call, headers=headers).json or {})["result"]
        assert "lacks the scope" in result["content"][0]["text"], name
    assert (client.post("/mcp", json={}).json or {})["error"]["code"] == -32603
