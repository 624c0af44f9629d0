"""The API's one error shape, RFC 9457 ``application/problem+json``, made here and nowhere else."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import orjson
from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException
from werkzeug.routing.exceptions import WebsocketMismatch

from spool import errors

log = logging.getLogger("spool.web")


class ErrorShape(Protocol):
    """The shape that a foreign protocol's clients read errors in."""

    def document(self, problem: Problem) -> dict[str, Any]:
        """The problem, as JSON."""
        ...

    def response(self, problem: Problem) -> Response:
        """The whole answer."""
        ...


_SHAPES: dict[str, ErrorShape] = {}
_AT_ENDPOINTS: dict[str, Callable[[Problem], Response | None]] = {}


def use_shape(prefix: str, shape: ErrorShape) -> None:
    """Errors under paths that begin like this have this shape."""
    _SHAPES[prefix] = shape


def answer_at(endpoint: str, answer: Callable[[Problem], Response | None]) -> None:
    """Errors of this endpoint are answered so; as everywhere else where ``answer`` gives None."""
    _AT_ENDPOINTS[endpoint] = answer


def document_at(path: str, problem: Problem) -> tuple[str, dict[str, Any]]:
    """The media type and the document of a problem at this path."""
    for prefix, shape in _SHAPES.items():
        if path.startswith(prefix):
            return "application/json", shape.document(problem)
    return "application/problem+json", problem.document()


class Problem(Exception):
    """An answer that is an error. ``extra`` are further members of the problem document."""

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

    def document(self) -> dict[str, Any]:
        """The problem document."""
        kind = self.title.lower().replace(" ", "-")
        return {
            "type": f"/docs#{kind}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            **self.extra,
        }

    def response(self) -> Response:
        """The whole answer."""
        body = orjson.dumps(self.document())
        response = Response(body, status=self.status, mimetype="application/problem+json")
        response.headers.update(self.headers)
        response.headers["Cache-Control"] = "no-store"
        return response


def field_problem(field: str, detail: str, status: int = 422) -> Problem:
    """One member of the input is wrong; ``field`` is its path, as ``messages[0].role``."""
    return Problem(status, "Invalid input", f"{field}: {detail}", errors=[{"field": field, "detail": detail}])


def model_problem(exc: errors.UnknownModel, place: str = "") -> Problem:
    """There is no such model; which there are. ``place`` is what stands before ``model`` in the field's path."""
    problem = field_problem(f"{place}model", str(exc))
    problem.extra["known_models"] = exc.known
    return problem


def retry_after(seconds: float) -> dict[str, str]:
    """The header that says when to come back."""
    return {"Retry-After": str(max(1, math.ceil(seconds)))}


def problem_of(exc: errors.SpoolError) -> Problem:
    """What a caller is told about one of Spool's errors; most specific first."""
    match exc:
        case errors.JobGone():
            return Problem(410, "Gone", "the job has expired or was deleted", job=exc.job_id)
        case errors.JobNotFound() | errors.BatchNotFound():
            return Problem(404, "Not found", "there is nothing here for you under this id")
        case errors.BatchStaging():
            return Problem(409, "In progress", str(exc), headers=retry_after(exc.retry_after_s))
        case errors.JobNotEnded():
            return Problem(409, "Not ended", str(exc), job=exc.job_id)
        case errors.UndecodableRecord():
            log.error("a record cannot be read: %s", exc.reason)
            return Problem(409, "Record damaged", "what is stored of this job cannot be read; submit it again")
        case errors.RecordDamaged():
            return Problem(409, "Record damaged", f"{exc}; submit it again")
        case errors.RecordNewer():
            return Problem(503, "Record newer", str(exc), headers=retry_after(exc.retry_after_s), job=exc.job_id)
        case errors.IdempotencyConflict():
            problem = Problem(422, "Idempotency conflict", str(exc))
            problem.extra["batch" if exc.job_id.startswith("b") else "job"] = exc.job_id
            return problem
        case errors.UnknownModel():
            return model_problem(exc)
        case errors.NoModel():
            return Problem(503, "No model", str(exc), headers=retry_after(exc.retry_after_s))
        case errors.OwnerQueueFull():
            return Problem(429, "Owner queue full", str(exc), headers=retry_after(exc.retry_after_s))
        case errors.OwnerBytesFull():
            return Problem(429, "Owner memory full", str(exc), headers=retry_after(exc.retry_after_s))
        case errors.OwnerStreamsFull():
            return Problem(429, "Owner streams full", str(exc), headers=retry_after(exc.retry_after_s))
        case errors.QueueFull():
            return Problem(503, "Queue full", str(exc), headers=retry_after(exc.retry_after_s))
        case errors.TooManyStreams():
            return Problem(503, "Too many streams", str(exc), headers=retry_after(exc.retry_after_s))
        case errors.TooManyFolds():
            return Problem(503, "Too many folds", str(exc), headers=retry_after(exc.retry_after_s))
        case errors.LimitExceeded():
            return Problem(429, "Too many requests", str(exc), headers=retry_after(exc.retry_after_s))
        case errors.StoreUnavailable():
            return _store_problem(exc)
        case errors.Draining():
            return Problem(503, "Draining", "this server is going away", headers=retry_after(exc.retry_after_s))
    return Problem(500, "Internal error", "something went wrong here")


def _store_problem(exc: errors.StoreUnavailable) -> Problem:
    headers = retry_after(exc.retry_after_s)
    job = getattr(exc, "job_id", None)
    if job is not None:
        detail = "the job may or may not have been accepted: look it up, or submit again with an Idempotency-Key"
        return Problem(503, "Outcome unknown", detail, headers=headers, job=job)
    if isinstance(exc, errors.StoreFull):
        return Problem(503, "Store full", "no room for more jobs now", headers=headers)
    if isinstance(exc, errors.StoreForbidden):
        return Problem(503, "Store unfit", "the Redis user of this server lacks a permission", headers=headers)
    if isinstance(exc, errors.StoreUnfit):
        return Problem(503, "Store unfit", str(exc), headers=headers)
    return Problem(503, "Store unavailable", "Redis cannot be reached or cannot answer now", headers=headers)


def _mismatch() -> Problem:
    if request.headers.get("Upgrade", "").lower() == "websocket":
        return Problem(400, "Bad request", "this is no WebSocket")
    return Problem(426, "Upgrade required", "this is a WebSocket", headers={"Upgrade": "websocket"})


def install(app: Flask) -> None:
    """Turn every error of this application into a problem."""

    def answer(problem: Problem) -> Response:
        for prefix, shape in _SHAPES.items():
            if request.path.startswith(prefix):
                return shape.response(problem)
        special = _AT_ENDPOINTS.get(request.endpoint or "")
        return (special and special(problem)) or problem.response()

    def on_spool_error(exc: errors.SpoolError) -> Response:
        problem = problem_of(exc)
        if problem.status >= 500 and problem.status != 503:
            log.error("unexpected", exc_info=exc)
        return answer(problem)

    def on_http_error(exc: HTTPException) -> Response:
        if exc.response is not None or (exc.code or 500) < 400:
            return exc.get_response()  # type: ignore[return-value]
        problem = Problem(exc.code or 500, exc.name, exc.description or exc.name)
        if isinstance(exc, WebsocketMismatch):
            problem = _mismatch()
        if exc.code == 413:
            problem.detail = f"the body is larger than {request.max_content_length} bytes"
        allowed = getattr(exc, "valid_methods", None)
        if allowed:
            problem.headers["Allow"] = ", ".join(allowed)
        return answer(problem)

    def on_bug(exc: Exception) -> Response:
        log.exception("unexpected", exc_info=exc)
        return answer(Problem(500, "Internal error", "something went wrong here"))

    app.register_error_handler(Problem, answer)
    app.register_error_handler(errors.SpoolError, on_spool_error)
    app.register_error_handler(HTTPException, on_http_error)
    app.register_error_handler(Exception, on_bug)
