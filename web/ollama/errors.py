"""Errors in Ollama's shape: ``{"error": "message"}``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NotRequired

import orjson
from flask import Response
from typing_extensions import TypedDict

from web.delivery.failures import Failure, ReportedError
from web.problems import Problem, use_shape

PREFIX = "/api/"


def install() -> None:
    """Use Ollama's shape for errors under ``/api``."""
    use_shape(PREFIX, OllamaErrors())


class OllamaError(TypedDict):
    """The cause. ``spool`` only of a failed job."""

    error: str
    spool: NotRequired[ReportedError]


class OllamaErrors:
    """The ``web.problems.ErrorShape`` of ``/api``."""

    schema = OllamaError

    def document(self, problem: Problem) -> OllamaError:
        """The problem as an error object."""
        if isinstance(problem, OllamaProblem):
            return document_of(problem.failure)
        return {"error": problem.detail}

    def response(self, problem: Problem) -> Response:
        """The HTTP response."""
        body = orjson.dumps(self.document(problem))
        response = Response(body, status=_status(problem), mimetype="application/json", headers=problem.headers)
        response.headers["Cache-Control"] = "no-store"
        return response


class OllamaProblem(Problem):
    """The problem of a failed job."""

    def __init__(self, failure: Failure, headers: Mapping[str, str]) -> None:
        super().__init__(failure.status, failure.title, _message(failure), headers=headers)
        self.failure = failure


def document_of(failure: Failure) -> OllamaError:
    """The error object of a failed job."""
    return {"error": _message(failure), "spool": failure.own}


def _message(failure: Failure) -> str:
    """It begins with the code, for which the shape has no other place."""
    return f"{failure.code}: {failure.message}"


def _status(problem: Problem) -> int:
    if "known_models" in problem.extra:
        return 404
    return 400 if problem.status == 422 else problem.status
