"""One id for each request: the caller's ``X-Request-Id`` if it is safe to repeat, else a new one.

The id is in every answer, in the job's record, in the upstream's request and in every log line, so that a search for it
finds a job's whole life.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from flask import g, has_request_context, request

import spool
from spool.access.caller import Caller
from spool.jobs.origin import Origin
from spool.logs import event
from spool.owners.limits import Budget
from web.request_spans import place_of_request

HEADER = "X-Request-Id"
VERSION_HEADER = "Spool-Version"
SNIFF_HEADER = "X-Content-Type-Options"
_OWN = frozenset(name.lower() for name in (HEADER, VERSION_HEADER, SNIFF_HEADER))
_ENVIRON = "spool.request_id"
_TRACE = "spool.traceparent"
BEGAN = "spool.began"
_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}(-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2})(?:-.*)?")

StartResponse = Callable[..., Callable[[bytes], object]]
Application = Callable[[dict[str, Any], StartResponse], Iterable[bytes]]


def id_of(given: str | None) -> str:
    """The id that a caller gave, or a new one if there is none or it could disturb a header or a log line."""
    return given if given and _ID.fullmatch(given) else f"req_{secrets.token_hex(12)}"


def traceparent_of(given: str | None) -> str:
    """The ``traceparent`` that a caller gave, as version 00; empty if there is none or it is not valid."""
    found = _TRACEPARENT.fullmatch(given[:200]) if given else None
    if found is None or ((given or "").startswith("00") and len(given or "") != 55):
        return ""
    return f"00{found[1]}"


def answer_headers(request_id: str) -> list[tuple[str, str]]:
    """The headers of every answer. ``nosniff``: no browser may take a model's text for a script or a page."""
    return [(HEADER, request_id), (VERSION_HEADER, spool.__version__), (SNIFF_HEADER, "nosniff")]


def headers_in(environ: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The headers of this request's answer."""
    return answer_headers(environ[_ENVIRON])


def identify(environ: dict[str, Any], start_response: StartResponse) -> StartResponse:
    """Give the request its id. Returns a ``start_response`` that adds it to the answer."""
    if _ENVIRON not in environ:
        environ[_ENVIRON] = id_of(environ.get("HTTP_X_REQUEST_ID"))
        # Now, because a WebSocket's handshake takes the headers away.
        environ[_TRACE] = traceparent_of(environ.get("HTTP_TRACEPARENT"))
        environ[BEGAN] = time.monotonic()
    own = headers_in(environ)

    def begin(status: str, headers: list[tuple[str, str]], *rest: Any) -> Callable[[bytes], object]:
        others = [pair for pair in headers if pair[0].lower() not in _OWN]
        return start_response(status, [*others, *own], *rest)

    return begin


class RequestIds:
    """The WSGI middleware that gives each request its id."""

    def __init__(self, app: Application) -> None:
        self._app = app

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request. Behind ``web.server.hijack`` it has its id, and its answer's headers."""
        if _ENVIRON not in environ:
            start_response = identify(environ, start_response)
        return self._app(environ, start_response)


def request_id() -> str:
    """The id of the current request; empty outside of one."""
    return str(request.environ.get(_ENVIRON, "")) if has_request_context() else ""


def age_s() -> float:
    """How long the current request has taken, in seconds."""
    now = time.monotonic()
    return now - float(request.environ.get(BEGAN, now))


def origin() -> Origin:
    """The origin of a job that the current request submits."""
    caller: Caller | None = g.get("caller")
    trace = place_of_request(str(request.environ.get(_TRACE, "")), age_s())
    if caller is None:
        return Origin(request_id(), trace)
    return Origin(request_id(), trace, caller.credential, caller.models, budget_of(caller))


def budget_of(caller: Caller) -> Budget:
    """The budget of the caller's key."""
    return Budget(caller.limits.tokens_per_day, caller.limits.tokens_per_month)


def say(name: str, **fields: Any) -> None:
    """Write an event line (``spool.logs.event``) with the id of the current request."""
    event(name, request_id=request_id() or None, **fields)
