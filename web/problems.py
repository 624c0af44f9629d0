"""The API's only error shape: RFC 9457 ``application/problem+json``."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NotRequired, Protocol

import orjson
from flask import Response
from typing_extensions import TypedDict

from spool import errors


class ErrorShape(Protocol):
    """The error shape that clients of another protocol read."""

    schema: Any
    """The ``TypedDict`` of its documents."""

    def document(self, problem: Problem) -> Mapping[str, Any]:
        """The problem as a JSON document."""
        ...

    def response(self, problem: Problem) -> Response:
        """The HTTP response."""
        ...


_SHAPES: dict[str, ErrorShape] = {}
_AT_ENDPOINTS: dict[str, Callable[[Problem], Response | None]] = {}


def use_shape(prefix: str, shape: ErrorShape) -> None:
    """Use this shape for errors under paths with this prefix."""
    _SHAPES[prefix] = shape


def answer_at(endpoint: str, answer: Callable[[Problem], Response | None]) -> None:
    """Answer this endpoint's errors with ``answer``. Where it returns None, the usual shape applies."""
    _AT_ENDPOINTS[endpoint] = answer


def document_at(path: str, problem: Problem) -> tuple[str, Mapping[str, Any]]:
    """The media type and the document of a problem at this path."""
    shape = _shape_at(path)
    if shape is not None:
        return "application/json", shape.document(problem)
    return "application/problem+json", problem.document()


def schema_at(path: str) -> Any:
    """The ``TypedDict`` of the documents of problems at this path."""
    shape = _shape_at(path)
    return shape.schema if shape is not None else ProblemDocument


def response_at(path: str, problem: Problem) -> Response:
    """The HTTP response of a problem at this path."""
    shape = _shape_at(path)
    return shape.response(problem) if shape is not None else problem.response()


def special_answer_at(endpoint: str, problem: Problem) -> Response | None:
    """The answer to an error of this endpoint, if it has an own one."""
    answer = _AT_ENDPOINTS.get(endpoint)
    return answer(problem) if answer else None


def _shape_at(path: str) -> ErrorShape | None:
    """The shape of the longest prefix of this path."""
    prefix = max((prefix for prefix in _SHAPES if path.startswith(prefix)), key=len, default=None)
    return _SHAPES[prefix] if prefix is not None else None


class FieldError(TypedDict):
    """A wrong field: its path, and what is wrong with it."""

    field: str
    detail: str


class ProblemDocument(TypedDict):
    """A problem (RFC 9457). Some kinds have further members."""

    type: str
    title: str
    status: int
    detail: str
    errors: NotRequired[list[FieldError]]
    job: NotRequired[str]
    batch: NotRequired[str]
    known_models: NotRequired[list[str]]
    checks: NotRequired[dict[str, Any]]
    switches: NotRequired[list[str]]


class Problem(Exception):
    """An error response. ``extra`` holds further members of the problem document."""

    def __init__(
        self,
        status: int,
        title: str,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.title = title
        self.detail = detail
        self.headers = dict(headers or {})
        self.extra = extra

    @property
    def kind(self) -> str:
        """The kind of problem, as its ``type`` names it."""
        return self.title.lower().replace(" ", "-")

    def document(self) -> dict[str, Any]:
        """The problem document."""
        return {
            "type": f"/docs#{self.kind}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            **self.extra,
        }

    def response(self) -> Response:
        """The HTTP response."""
        body = orjson.dumps(self.document())
        response = Response(body, status=self.status, mimetype="application/problem+json")
        response.headers.update(self.headers)
        response.headers["Cache-Control"] = "no-store"
        return response


def field_problem(field: str, detail: str, status: int = 422) -> Problem:
    """The problem of one invalid input field. ``field`` is its path, such as ``messages[0].role``."""
    return Problem(status, "Invalid input", f"{field}: {detail}", errors=[{"field": field, "detail": detail}])


def model_problem(exc: errors.UnknownModel, place: str = "") -> Problem:
    """The problem of an unknown model, with the known ones. ``place`` is the path's prefix before ``model``."""
    problem = field_problem(f"{place}model", str(exc))
    problem.extra["known_models"] = exc.known
    return problem


def retry_after(seconds: float) -> dict[str, str]:
    """The ``Retry-After`` header: whole seconds, at least 1."""
    return {"Retry-After": str(max(1, math.ceil(seconds)))}
