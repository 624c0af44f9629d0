"""Errors in Anthropic's shape: ``{"type": "error", "error": {"type", "message"}, "request_id"}``.

https://docs.anthropic.com/en/api/errors. The SDKs retry after 408, 409, 429 and 5xx, unless ``x-should-retry`` says
otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NotRequired

import orjson
from flask import Flask, Response, request
from typing_extensions import TypedDict

from web.delivery.failures import Failure, ReportedError
from web.intake.idempotency import is_safe_to_repeat
from web.problems import Problem, use_shape
from web.request_ids import request_id

PREFIX = "/v1/messages"
MODELS_PREFIX = "/anthropic/v1/models"
_PREFIXES = (PREFIX, MODELS_PREFIX)
_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
"""By status; of all others, ``invalid_request_error`` below 500 and ``api_error`` from there."""
_OVERFLOW = "prompt is too long: "
"""Anthropic's own words, by which Claude Code knows that it must compact the conversation."""
_WORTH_ANOTHER_TRY = frozenset({408, 429, 500, 502, 503})


def install(app: Flask) -> None:
    """Use Anthropic's shape for errors under its paths, and give each response an id."""
    for prefix in _PREFIXES:
        use_shape(prefix, AnthropicErrors())

    def name_it(response: Response) -> Response:
        if request.path.startswith(_PREFIXES):
            response.headers["request-id"] = request_id()
        return response

    app.after_request(name_it)


class MessagesError(TypedDict):
    """What went wrong. ``spool`` only of a failed job."""

    type: str
    message: str
    spool: NotRequired[ReportedError]


class MessagesErrorDocument(TypedDict):
    """An error."""

    type: Literal["error"]
    error: MessagesError
    request_id: str | None


class AnthropicProblem(Problem):
    """The problem of a failed job."""

    def __init__(self, failure: Failure, headers: Mapping[str, str]) -> None:
        # Spool has retried already, so the SDKs should not.
        super().__init__(
            failure.status, failure.title, message_of(failure), headers={**headers, "x-should-retry": "false"}
        )
        self.failure = failure


class AnthropicErrors:
    """The ``web.problems.ErrorShape`` of Anthropic's paths."""

    schema = MessagesErrorDocument

    def document(self, problem: Problem) -> MessagesErrorDocument:
        """The problem as an error object."""
        if isinstance(problem, AnthropicProblem):
            return document_of(problem.failure)
        return error_document(_status(problem), problem.detail)

    def response(self, problem: Problem) -> Response:
        """The HTTP response, with ``x-should-retry: false`` where a retry is useless or unsafe."""
        status = _status(problem)
        body = orjson.dumps(self.document(problem))
        response = Response(body, status=status, mimetype="application/json", headers=problem.headers)
        response.headers["Cache-Control"] = "no-store"
        is_unsafe = problem.title == "Outcome unknown" and not is_safe_to_repeat()
        if (status not in _WORTH_ANOTHER_TRY or is_unsafe) and "x-should-retry" not in response.headers:
            response.headers["x-should-retry"] = "false"
        return response


def error_document(status: int, message: str) -> MessagesErrorDocument:
    """The error object of a status."""
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": request_id() or None}


def document_of(failure: Failure) -> MessagesErrorDocument:
    """The error object of a failed job."""
    document = error_document(failure.status, message_of(failure))
    document["error"]["spool"] = failure.own
    return document


def message_of(failure: Failure) -> str:
    """The message of a failed job. It begins with the code, for which the shape has no other place."""
    is_overflow = failure.code == "context_length_exceeded"
    return f"{failure.code}: {_OVERFLOW if is_overflow else ''}{failure.message}"


def _status(problem: Problem) -> int:
    if "known_models" in problem.extra:
        return 404
    return 400 if problem.status == 422 else problem.status
