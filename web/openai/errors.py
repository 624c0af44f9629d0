"""Errors in OpenAI's shape: ``{"error": {"message", "type", "param", "code"}}``.

https://platform.openai.com/docs/guides/error-codes. The SDKs retry after 408, 409, 429 and 5xx, unless
``x-should-retry`` says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NotRequired

import orjson
from flask import Response
from typing_extensions import TypedDict

from web.delivery.failures import ReportedError
from web.intake.idempotency import is_safe_to_repeat
from web.problems import Problem, use_shape

PREFIX = "/v1/"


def install() -> None:
    """Use OpenAI's shape for errors under ``/v1``."""
    use_shape(PREFIX, OpenAIErrors())


class ErrorObject(TypedDict):
    """What went wrong. ``param`` is the wrong field. ``spool`` only of a failed job."""

    message: str
    type: str
    param: str | None
    code: str | None
    spool: NotRequired[ReportedError]


class ErrorDocument(TypedDict):
    """An error."""

    error: ErrorObject


class OpenAIProblem(Problem):
    """A problem whose error object is known."""

    def __init__(self, status: int, title: str, body: ErrorDocument, headers: Mapping[str, str]) -> None:
        super().__init__(status, title, body["error"]["message"], headers=headers)
        self.body = body


class OpenAIErrors:
    """The ``web.problems.ErrorShape`` of ``/v1``."""

    schema = ErrorDocument

    def document(self, problem: Problem) -> ErrorDocument:
        """The problem as an error object."""
        return error_document(problem)

    def response(self, problem: Problem) -> Response:
        """The HTTP response."""
        return error_response(problem)


def error_body(message: str, kind: str, code: str | None, param: str | None = None) -> ErrorDocument:
    """The error object."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def error_document(problem: Problem) -> ErrorDocument:
    """A problem as an error object."""
    if isinstance(problem, OpenAIProblem):
        return problem.body
    fields = problem.extra.get("errors") or [{}]
    status, code = _status_and_code(problem)
    return error_body(problem.detail, _kind(status), code, fields[0].get("field"))


def status_of(problem: Problem) -> int:
    """The HTTP status of a problem on ``/v1``."""
    return _status_and_code(problem)[0]


def error_response(problem: Problem) -> Response:
    """A problem as an HTTP response, with ``x-should-retry: false`` where a retry is useless or unsafe."""
    status, code = _status_and_code(problem)
    body = orjson.dumps(error_document(problem))
    response = Response(body, status=status, mimetype="application/json", headers=problem.headers)
    response.headers["Cache-Control"] = "no-store"
    if not _worth_another_try(status, code):
        response.headers["x-should-retry"] = "false"
    return response


def _status_and_code(problem: Problem) -> tuple[int, str]:
    if "known_models" in problem.extra:
        return 404, "model_not_found"
    if problem.status == 401:
        return 401, "invalid_api_key"
    code = problem.title.lower().replace(" ", "_")
    # OpenAI answers 400 where Spool's native API answers 422.
    return 400 if code == "invalid_input" and problem.status == 422 else problem.status, code


def _kind(status: int) -> str:
    if status == 429:
        return "rate_limit_error"
    return "server_error" if status >= 500 else "invalid_request_error"


def _worth_another_try(status: int, code: str) -> bool:
    if code == "outcome_unknown":
        # The job may have been accepted, and a retry could run it twice.
        return is_safe_to_repeat()
    if code in ("owner_files_full", "files_full"):
        # A retry would upload everything again.
        return False
    return status in (408, 429, 500, 502, 503)
