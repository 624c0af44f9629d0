"""``POST /mcp``: one request of an MCP client, and its answer as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import orjson
from flask import Blueprint, Response
from pydantic import BaseModel, ConfigDict, Field

import spool
from spool.errors import SpoolError
from web.auth import scope
from web.contract import Answer, Contract, json_content
from web.error_problems import problem_of
from web.intake.body import json_body
from web.intake.idempotency import IDEMPOTENCY_KEY, Idempotency, idempotency_of
from web.intake.shapes import checked
from web.json_response import json_response
from web.mcp.messages import (
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    PATH,
    McpMessage,
    RpcRefused,
    error_message,
    result_message,
)
from web.mcp.tools import TOOLS, check_scope
from web.problems import Problem
from web.services import state

blueprint = Blueprint("mcp", __name__)

VERSIONS = ("2026-07-28", "2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")
"""The revisions of the protocol, newest first. The first needs no handshake."""
_OF_HANDSHAKE = VERSIONS[1:]
_SERVER = {"name": "spool", "version": spool.__version__}
_CAPABILITIES: Mapping[str, Any] = {"tools": {}}
_PRIVATE = {"ttlMs": 0, "cacheScope": "private"}
"""Required by the newest revision; older clients ignore it."""


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
    headers=[IDEMPOTENCY_KEY],
    answers={
        200: Answer("The result, or an error.", [json_content(McpMessage, lambda: result_message(1, {}))]),
        202: Answer("A notification was received."),
    },
    errors=[413, 415, 422],
)
def call() -> Response:
    """MCP over Streamable HTTP, without sessions: jobs as tools (``submit_job``, ``get_job``, ``cancel_job``,
    ``list_models``), and batches (``submit_batch``, ``get_batch``, ``cancel_batch``)."""
    data = json_body()
    asked = checked(McpRequest, data)
    if asked.id is None or asked.method is None:
        return Response(status=202, headers={"Cache-Control": "no-store"})
    try:
        result = _result(asked.method, asked.params or {}, idempotency_of(data))
    except RpcRefused as exc:
        return json_response(error_message(asked.id, exc.code, exc.message))
    return json_response(result_message(asked.id, {"resultType": "complete", **result}))


def _result(method: str, params: Mapping[str, Any], idempotency: Idempotency) -> Mapping[str, Any]:
    match method:
        case "initialize":
            wanted = params.get("protocolVersion")
            version = wanted if wanted in _OF_HANDSHAKE else _OF_HANDSHAKE[0]
            return {"protocolVersion": version, "capabilities": _CAPABILITIES, "serverInfo": _SERVER}
        case "server/discover":
            return {"supportedVersions": VERSIONS, "capabilities": _CAPABILITIES, "serverInfo": _SERVER, **_PRIVATE}
        case "ping":
            return {}
        case "tools/list":
            return {"tools": [tool.document(name) for name, tool in TOOLS.items()], **_PRIVATE}
        case "tools/call":
            return _called(params, idempotency)
    raise RpcRefused(METHOD_NOT_FOUND, f"no method {method!r}")


def _called(params: Mapping[str, Any], idempotency: Idempotency) -> Mapping[str, Any]:
    name = params.get("name")
    tool = TOOLS.get(name) if isinstance(name, str) else None
    if tool is None:
        raise RpcRefused(INVALID_PARAMS, f"no tool {str(name)[:100]!r}; the tools are {', '.join(TOOLS)}")
    try:
        check_scope(tool)
        arguments = checked(tool.arguments, params.get("arguments") or {}, "arguments.")
        answer = tool.run(state(), arguments, idempotency)
    except Problem as problem:
        return _failed(problem)
    except SpoolError as exc:
        return _failed(problem_of(exc))
    return {"content": [_text(orjson.dumps(answer).decode())], "structuredContent": answer, "isError": False}


def _failed(problem: Problem) -> Mapping[str, Any]:
    """An error as the tool's result: the model then sees its cause and can act on it."""
    job = f" (job {problem.extra['job']})" if "job" in problem.extra else ""
    return {"content": [_text(f"{problem.title}: {problem.detail}{job}")], "isError": True}


def _text(text: str) -> Mapping[str, str]:
    return {"type": "text", "text": text}
