"""JSON-RPC 2.0, as MCP uses it: one request in, one result or error out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NotRequired

import orjson
from flask import Response
from typing_extensions import TypedDict

from web.problems import Problem, use_shape

PATH = "/mcp"
PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS, INTERNAL_ERROR = (
    -32700,
    -32600,
    -32601,
    -32602,
    -32603,
)
_CODES = {400: INVALID_REQUEST, 413: INVALID_REQUEST, 415: INVALID_REQUEST, 422: INVALID_PARAMS}
"""By the status of a problem; of all others, an internal error."""


def install() -> None:
    """Use JSON-RPC's shape for errors at ``/mcp``."""
    use_shape(PATH, McpErrors())


class McpErrorObject(TypedDict):
    """The cause."""

    code: int
    message: str
    data: NotRequired[Mapping[str, Any]]


class McpMessage(TypedDict):
    """The answer to a request."""

    jsonrpc: Literal["2.0"]
    id: str | int | None
    result: NotRequired[Mapping[str, Any]]
    error: NotRequired[McpErrorObject]


class McpErrors:
    """The ``web.problems.ErrorShape`` of ``/mcp``."""

    schema = McpMessage

    def document(self, problem: Problem) -> McpMessage:
        """The problem as an error without a request's id."""
        return error_message(None, _CODES.get(problem.status, INTERNAL_ERROR), problem.detail)

    def response(self, problem: Problem) -> Response:
        """The HTTP response."""
        body = orjson.dumps(self.document(problem))
        response = Response(body, status=problem.status, mimetype="application/json", headers=problem.headers)
        response.headers["Cache-Control"] = "no-store"
        return response


class RpcRefused(Exception):
    """A request that is answered with an error. ``data``: what a program needs to know of it."""

    def __init__(self, code: int, message: str, data: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data


def result_message(request_id: str | int, result: Mapping[str, Any]) -> McpMessage:
    """The answer to a request that succeeded."""
    return {"jsonrpc": "2.0", "id": request_id, "result": result}


def error_message(
    request_id: str | int | None, code: int, message: str, data: Mapping[str, Any] | None = None
) -> McpMessage:
    """The answer to a request that failed. ``request_id`` is None if the request has none."""
    error: McpErrorObject = {"code": code, "message": message}
    if data is not None:
        error["data"] = data
    return {"jsonrpc": "2.0", "id": request_id, "error": error}
