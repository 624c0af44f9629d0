"""Answers to what never reached the application, in the shape that the application's errors have."""

from __future__ import annotations

from http import HTTPStatus

import orjson
from gunicorn.http import errors

from web.problems import Problem, document_at
from web.server.source import TooSlow

_OURS = (errors.ConfigurationProblem, errors.InvalidResponseHeader, errors.InvalidResponseHeaderName)
"""gunicorn's errors that are no client's fault."""
_DETAIL_CHARACTERS = 200
"""A detail is cut there: it may quote what the client sent."""


def problem_of(exc: BaseException) -> Problem:
    """What is wrong with a request whose reading, or whose answer, failed with ``exc``."""
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
            return Problem(417, "Expectation failed", "the only expectation that is known here is 100-continue")
        case errors.UnsupportedTransferCoding():
            return Problem(501, "Not implemented", detail)
        case errors.ForbiddenProxyRequest():
            return Problem(403, "Not allowed", detail)
        case errors.ParseException() if not isinstance(exc, _OURS):
            return Problem(400, "Bad request", detail or "this is no HTTP request")
    return Problem(500, "Internal error", "something went wrong here")


def refusal(exc: BaseException, method: str | None, path: str | None) -> bytes:
    """The whole answer, after which the connection closes. ``method`` and ``path`` as far as they are known."""
    problem = problem_of(exc)
    media_type, document = document_at(path or "", problem)
    body = orjson.dumps(document)
    head = (
        f"HTTP/1.1 {problem.status} {HTTPStatus(problem.status).phrase}\r\nContent-Type: {media_type}\r\n"
        f"Content-Length: {len(body)}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + (b"" if method == "HEAD" else body)
