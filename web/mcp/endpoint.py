"""``POST /mcp``: one request of an MCP client, and its answer as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from flask import Blueprint, Response, request
from pydantic import BaseModel, ConfigDict, Field

import spool
from spool.errors import SpoolError
from web.auth import scope
from web.contract import Answer, Contract, Parameter, json_content
from web.error_problems import problem_of
from web.intake.body import json_body
from web.intake.idempotency import IDEMPOTENCY_KEY, Idempotency, idempotency_of
from web.intake.shapes import checked
from web.json_response import json_response
from web.mcp.messages import (
    INVALID_PARAMS,
    PATH,
    McpMessage,
    RpcRefused,
    error_message,
    result_message,
)
from web.mcp.tasks import Tasks, capabilities_of, tasks_of
from web.mcp.tool import tool_result
from web.mcp.tools import TOOLS, check_scope
from web.problems import Problem
from web.services import state

blueprint = Blueprint("mcp", __name__)

VERSIONS = ("2026-07-28", "2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")
"""The revisions of the protocol, newest first. The first needs no handshake."""
_OF_HANDSHAKE = VERSIONS[1:]
_SERVER = {"name": "spool", "version": spool.__version__}
_PRIVATE = {"ttlMs": 0, "cacheScope": "private"}
"""Required by the newest revision; older clients ignore it."""
_VERSION = Parameter(
    "MCP-Protocol-Version", Annotated[str, Field(max_length=40)], "The revision of the protocol, for those with tasks."
)


class McpRequest(BaseModel):
    """A request; without ``id`` a notification; without ``method`` a response, of which none is expected."""

    model_config = ConfigDict(extra="ignore", strict=True, defer_build=True)

    jsonrpc: Literal["2.0"]
    id: Annotated[str, Field(max_length=200)] | int | None = None
    method: Annotated[str, Field(max_length=200)] | None = None
    params: dict[str, Any] | None = None


def _example_request() -> dict[str, Any]:
    call = {"name": "submit_job", "arguments": {"prompt": "Why is the sky blue?", "wait_s": 20}}
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}


@blueprint.post(PATH)
@scope("jobs:read")
@Contract(
    body=[json_content(McpRequest, _example_request)],
    headers=[IDEMPOTENCY_KEY, _VERSION],
    answers={
        200: Answer("The result, or an error.", [json_content(McpMessage, lambda: result_message(1, {}))]),
        202: Answer("A notification was received."),
    },
    errors=[413, 415, 422],
)
def call() -> Response:
    """MCP over Streamable HTTP, without sessions: jobs as tools (``submit_job``, ``get_job``, ``cancel_job``,
    ``list_models``), and batches (``submit_batch``, ``get_batch``, ``cancel_batch``). A job can also be a task."""
    data = json_body()
    asked = checked(McpRequest, data)
    if asked.id is None or asked.method is None:
        return Response(status=202, headers={"Cache-Control": "no-store"})
    try:
        result = _result(asked.method, asked.params or {}, idempotency_of(data))
    except RpcRefused as exc:
        return json_response(error_message(asked.id, exc.code, exc.message, exc.data))
    return json_response(result_message(asked.id, {"resultType": "complete", **result}))


def _result(method: str, params: Mapping[str, Any], idempotency: Idempotency) -> Mapping[str, Any]:
    tasks = tasks_of(request.headers.get(_VERSION.name, ""), params)
    match method:
        case "initialize":
            wanted = params.get("protocolVersion")
            version = wanted if wanted in _OF_HANDSHAKE else _OF_HANDSHAKE[0]
            return {"protocolVersion": version, "capabilities": _capabilities(version), "serverInfo": _SERVER}
        case "server/discover":
            capabilities = _capabilities(VERSIONS[0])
            return {"supportedVersions": VERSIONS, "capabilities": capabilities, "serverInfo": _SERVER, **_PRIVATE}
        case "ping":
            return {}
        case "tools/list":
            tools = [{**tool.document(name), **tasks.described(tool)} for name, tool in TOOLS.items()]
            return {"tools": tools, **_PRIVATE}
        case "tools/call":
            return _called(params, idempotency, tasks)
    return tasks.answer(state(), method, params)


def _capabilities(version: str) -> Mapping[str, Any]:
    return {"tools": {}, **capabilities_of(version)}


def _called(params: Mapping[str, Any], idempotency: Idempotency, tasks: Tasks) -> Mapping[str, Any]:
    name = params.get("name")
    tool = TOOLS.get(name) if isinstance(name, str) else None
    if tool is None:
        raise RpcRefused(INVALID_PARAMS, f"no tool {str(name)[:100]!r}; the tools are {', '.join(TOOLS)}")
    tasks.check(params, tool)
    try:
        check_scope(tool.scope)
        arguments = checked(tool.arguments, params.get("arguments") or {}, "arguments.")
        if tool.begin is not None and tasks.is_wanted(params, arguments):
            return tasks.begun(tool.begin(state(), arguments, idempotency))
        return tool_result(tool.run(state(), arguments, idempotency))
    except Problem as problem:
        return tasks.refused(params, problem)
    except SpoolError as exc:
        return tasks.refused(params, problem_of(exc))
