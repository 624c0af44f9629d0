"""The spans of the web: one for each request that submits jobs, and one for each submit."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from flask import Flask, Response, g, request

from spool.jobs.job import NewJob
from spool.tracing import tracing

_METHOD_CHARACTERS = 16


def place_of_request(parent: str, age_s: float) -> str:
    """The ``traceparent`` of what the current request does. Its span begins with the first call, ``age_s`` ago."""
    if not tracing.is_on:
        return parent
    if "span" not in g:
        route, method = request.url_rule.rule if request.url_rule else None, request.method[:_METHOD_CHARACTERS]
        g.span = tracing.begin(
            f"{method} {route or ''}".strip(),
            parent,
            kind="SERVER",
            at_s=time.time() - age_s,
            attributes={"http.request.method": method, "http.route": route},
        )
    return str(g.span.traceparent)


def install(app: Flask) -> None:
    """End the spans of this application's requests with their answers, or with their contexts where there is no
    answer: each message on a socket has a context. A stream goes on after that."""

    def end(response: Response) -> Response:
        span = g.get("span")
        if span is not None:
            code = response.status_code
            span.set({"http.response.status_code": code})
            span.end(str(code) if code >= 500 else "")
        return response

    def leave(_exc: BaseException | None) -> None:
        if (span := g.get("span")) is not None:
            span.end()

    app.after_request(end)
    app.teardown_request(leave)


@contextmanager
def submitting(new: NewJob) -> Iterator[NewJob]:
    """The span of a submit. Yields the job whose record carries it: the spans of its attempts are its children."""
    if not tracing.is_on:
        yield new
        return
    span = tracing.begin(
        "submit",
        new.origin.traceparent,
        kind="PRODUCER",
        attributes={
            "spool.job.id": new.id,
            "spool.model": new.model,
            "spool.surface": new.surface,
            "spool.priority": new.priority.value,
            "spool.request.id": new.origin.request_id or None,
        },
    )
    try:
        yield replace(new, origin=replace(new.origin, traceparent=span.traceparent))
    except Exception as exc:
        span.end(type(exc).__name__)
        raise
    finally:
        span.end()
