"""The API's only error shape: RFC 9457 ``application/problem+json``."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from typing import Any, NotRequired, Protocol

import orjson
from flask import Flask, Response, request
from typing_extensions import TypedDict
from werkzeug.exceptions import HTTPException
from werkzeug.routing.exceptions import WebsocketMismatch

from spool import errors

log = logging.getLogger("spool.web")


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


_LIMITS: dict[type[errors.LimitExceeded], tuple[int, str]] = {
    errors.OwnerQueueFull: (429, "Owner queue full"),
    errors.OwnerBytesFull: (429, "Owner memory full"),
    errors.OwnerFilesFull: (429, "Owner files full"),
    errors.OwnerConversationsFull: (429, "Owner conversations full"),
    errors.DeliveriesFull: (429, "Deliveries full"),
    errors.TooManyOpenBatches: (429, "Too many open batches"),
    errors.OwnerStreamsFull: (429, "Owner streams full"),
    errors.QuotaExceeded: (429, "Quota exceeded"),
    errors.QueueFull: (503, "Queue full"),
    errors.SubmitsStopped: (503, "Submits stopped"),
    errors.TransportOff: (503, "Transport off"),
    errors.FilesFull: (503, "Files full"),
    errors.TooManyStreams: (503, "Too many streams"),
    errors.TooManyFolds: (503, "Too many folds"),
}
"""Status and title of each limit: 429 if it is the owner's, 503 if it is the instance's."""


def problem_of(exc: errors.SpoolError) -> Problem:
    """The problem for one of Spool's errors. Matches the most specific class first."""
    match exc:
        case errors.JobGone():
            return Problem(410, "Gone", "the job has expired or was deleted", job=exc.job_id)
        case errors.JobNotFound():
            return Problem(404, "Not found", "no such job")
        case errors.BatchNotFound():
            return Problem(404, "Not found", "no such batch")
        case errors.FileNotFound():
            return Problem(404, "Not found", "no such file")
        case errors.UploadExpired():
            return Problem(408, "Request timeout", str(exc))
        case errors.ContentLost() | errors.ContentElsewhere():
            log.error("%s", exc)
            return Problem(409, "Content unavailable", str(exc))
        case (
            errors.KeyNotFound()
            | errors.WebhookNotFound()
            | errors.DeliveryNotFound()
            | errors.ConversationNotFound()
            | errors.ItemNotFound()
        ):
            return Problem(404, "Not found", str(exc))
        case errors.ConversationTooLarge():
            return Problem(413, "Conversation too large", str(exc))
        case errors.TooManyKeys():
            return Problem(409, "Too many keys", str(exc))
        case errors.SwitchNotFound():
            return Problem(404, "Not found", str(exc))
        case errors.WrongSwitch():
            return field_problem(exc.field, exc.detail)
        case errors.TooManySwitches():
            return Problem(409, "Too many switches", str(exc))
        case errors.TooManyWebhooks():
            return Problem(409, "Too many webhooks", str(exc))
        case errors.BatchStaging():
            return Problem(409, "In progress", str(exc), headers=retry_after(exc.retry_after_s))
        case errors.JobNotEnded():
            return Problem(409, "Not ended", str(exc), job=exc.job_id)
        case errors.BatchNotEnded():
            return Problem(409, "Not ended", str(exc), batch=exc.batch_id)
        case errors.BatchStopped():
            return Problem(409, "Ended", str(exc), batch=exc.batch_id)
        case errors.BatchClosed():
            return Problem(409, "Batch closed", str(exc), batch=exc.batch_id)
        case errors.BatchMoved():
            headers = retry_after(exc.retry_after_s)
            return Problem(409, "In progress", str(exc), headers=headers, batch=exc.batch_id)
        case errors.BatchTooLarge():
            return field_problem("body", str(exc))
        case errors.UndecodableRecord():
            log.error("cannot decode a stored record: %s", exc.reason)
            return Problem(409, "Record damaged", f"the stored record of this {exc.noun} cannot be read; {exc.remedy}")
        case errors.RecordDamaged():
            return Problem(409, "Record damaged", f"{exc}; submit it again")
        case errors.RecordNewer():
            return Problem(503, "Record newer", str(exc), headers=retry_after(exc.retry_after_s), job=exc.job_id)
        case errors.ConversationBusy():
            return Problem(409, "Conversation busy", str(exc), job=exc.job_id)
        case errors.ConversationFull():
            return Problem(429, "Conversation full", str(exc), headers=retry_after(exc.retry_after_s))
        case errors.IdempotencyConflict():
            problem = Problem(422, "Idempotency conflict", str(exc))
            problem.extra["batch" if exc.job_id.startswith("b") else "job"] = exc.job_id
            return problem
        case errors.UnknownModel():
            return model_problem(exc)
        case errors.NoModel():
            return Problem(503, "No model", str(exc), headers=retry_after(exc.retry_after_s))
        case errors.LimitExceeded():
            status, title = _LIMITS.get(type(exc), (429, "Too many requests"))
            return Problem(status, title, str(exc), headers=retry_after(exc.retry_after_s))
        case errors.StoreUnavailable():
            return _store_problem(exc)
        case errors.Draining():
            return Problem(503, "Draining", "this instance is draining; retry", headers=retry_after(exc.retry_after_s))
    return Problem(500, "Internal error", "unexpected error; see the server's log")


def _store_problem(exc: errors.StoreUnavailable) -> Problem:
    headers = retry_after(exc.retry_after_s)
    job = getattr(exc, "job_id", None)
    if job is not None:
        detail = "the job may or may not have been accepted; look it up, or retry with an Idempotency-Key"
        return Problem(503, "Outcome unknown", detail, headers=headers, job=job)
    if isinstance(exc, errors.StoreFull):
        return Problem(503, "Store full", "Redis has no memory for more jobs; retry later", headers=headers)
    if isinstance(exc, errors.StoreForbidden):
        return Problem(503, "Store unfit", "this server's Redis user lacks a permission", headers=headers)
    if isinstance(exc, errors.ContentsUnavailable):
        log.error("%s", exc)
        return Problem(503, "Store unavailable", "the store of files does not answer; retry", headers=headers)
    if isinstance(exc, errors.StoreUnfit):
        return Problem(503, "Store unfit", str(exc), headers=headers)
    return Problem(503, "Store unavailable", "Redis is unreachable or does not answer; retry", headers=headers)


def _mismatch() -> Problem:
    if request.headers.get("Upgrade", "").lower() == "websocket":
        return Problem(400, "Bad request", "this endpoint is not a WebSocket")
    return Problem(426, "Upgrade required", "this endpoint is a WebSocket", headers={"Upgrade": "websocket"})


def _log_unexpected(exc: Exception) -> None:
    route = request.url_rule.rule if request.url_rule else "an unknown path"
    log.error("unexpected error in %s %s", request.method[:16], route, exc_info=exc)


def install(app: Flask) -> None:
    """Answer every error of this application as a problem."""

    def answer(problem: Problem) -> Response:
        special = _AT_ENDPOINTS.get(request.endpoint or "")
        return (special and special(problem)) or response_at(request.path, problem)

    def on_spool_error(exc: errors.SpoolError) -> Response:
        problem = problem_of(exc)
        if problem.status >= 500 and problem.status != 503:
            _log_unexpected(exc)
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
        _log_unexpected(exc)
        return answer(Problem(500, "Internal error", "unexpected error; see the server's log"))

    app.register_error_handler(Problem, answer)
    app.register_error_handler(errors.SpoolError, on_spool_error)
    app.register_error_handler(HTTPException, on_http_error)
    app.register_error_handler(Exception, on_bug)
