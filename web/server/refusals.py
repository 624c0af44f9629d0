"""Error responses to requests that never reached the application, in the application's error shape."""

from __future__ import annotations

from http import HTTPStatus

import orjson
from gunicorn.http import errors

from web.problems import Problem, document_at
from web.request_ids import answer_headers
from web.server.source import TooSlow

_OURS = (errors.ConfigurationProblem, errors.InvalidResponseHeader, errors.InvalidResponseHeaderName)
"""gunicorn's errors that are not the client's fault."""
_DETAIL_CHARACTERS = 200
"""Details are truncated to this, because they may quote client data."""


def problem_of(exc: BaseException) -> Problem:
    """The problem for an error while reading or answering a request."""
    detail = str(exc)[:_DETAIL_CHARACTERS]
    match exc:
        case Problem():
            return exc
        case TooSlow():
            return Problem(408, "Request timeout", "the request did not arrive in time")
        case errors.LimitRequestLine():
            return Problem(414, "URI too long", detail)
        case errors.LimitRequestHeaders():
            return Problem(431, "Headers too large", detail)
        case errors.ExpectationFailed():
            return Problem(417, "Expectation failed", "only the expectation 100-continue is supported")
        case errors.UnsupportedTransferCoding():
            return Problem(501, "Not implemented", detail)
        case errors.ForbiddenProxyRequest():
            return Problem(403, "Not allowed", detail)
        case errors.ParseException() if not isinstance(exc, _OURS):
            return Problem(400, "Bad request", detail or "not an HTTP request")
    return Problem(500, "Internal error", "unexpected error; see the server's log")


def refusal(exc: BaseException, method: str | None, path: str | None, request_id: str) -> bytes:
    """The bytes of the response, after which the connection closes. ``method`` and ``path`` may be unknown (None)."""
    problem = problem_of(exc)
    media_type, document = document_at(path or "", problem)
    body = orjson.dumps(document)
    head = (
        f"HTTP/1.1 {problem.status} {HTTPStatus(problem.status).phrase}\r\nContent-Type: {media_type}\r\n"
        f"Content-Length: {len(body)}\r\nCache-Control: no-store\r\nConnection: close\r\n"
    )
    head += "".join(f"{name}: {value}\r\n" for name, value in answer_headers(request_id)) + "\r\n"
    return head.encode() + (b"" if method == "HEAD" else body)
