"""Answers every error of the application as a problem."""

from __future__ import annotations

import logging

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException
from werkzeug.routing.exceptions import WebsocketMismatch

from spool import errors
from web.error_problems import problem_of
from web.problems import Problem, response_at, special_answer_at

log = logging.getLogger("spool.web")


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
        return special_answer_at(request.endpoint or "", problem) or response_at(request.path, problem)

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
