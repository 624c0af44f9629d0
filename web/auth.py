"""The caller of each request, and the scope that each route requires. A route without one fails at start."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from flask import Flask, Response, current_app, g, request

from spool.access import caller as callers
from spool.access.caller import Caller, Kind
from spool.jobs.job import Job
from web.access.authenticator import SAFE_METHODS, Authenticator
from web.access.request_limits import headers_of, openai_headers_of
from web.access.shown import LINK_ARGUMENT, TOKEN_ARGUMENT
from web.cors import EXPOSED
from web.problems import Problem

PUBLIC = "public"
"""The scope of a route that needs no credential."""
SCOPES = frozenset({*callers.SCOPES, PUBLIC})
"""The scopes that a route can require."""

View = TypeVar("View", bound=Callable[..., Any])


def scope(name: str, *, shared: str = "", is_stream: bool = False) -> Callable[[View], View]:
    """Declare the scope that the route requires. Links and tokens reach it only if it has a name for them, ``shared``;
    its view must then call ``refuse_outside`` with its job, or have a ``batch_id``. ``is_stream``: a token may stand in
    its query, because browsers cannot set headers there. Raises ``ValueError`` for an unknown scope."""
    if name not in SCOPES:
        raise ValueError(f"no scope {name!r}")

    def declare(view: View) -> View:
        view.scope, view.shared, view.is_stream = name, shared, is_stream  # type: ignore[attr-defined]
        return view

    return declare


def caller() -> Caller:
    """The caller of this request."""
    found: Caller = g.caller
    return found


def owner() -> str:
    """The owner of this request's credential."""
    return caller().owner


def refuse_outside(job: Job) -> None:
    """Raise a 404 ``Problem`` if the caller's link or token is not for this job."""
    found = caller()
    conversation = job.scheduling.conversation
    is_inside = (
        (not found.job or found.job == job.id)
        and (not found.batch or found.batch == job.batch)
        and (not found.conversation or (conversation is not None and found.conversation == conversation.id))
    )
    if not is_inside:
        raise Problem(404, "Not found", "no such job")


def install(app: Flask, authenticator: Authenticator) -> None:
    """Find the caller before every request to a known route, and check what it may do."""

    def check() -> None:
        view = current_app.view_functions.get(request.endpoint or "")
        needed = getattr(view, "scope", PUBLIC)
        if needed == PUBLIC or request.method == "OPTIONS":
            return
        g.caller = found = authenticator.caller(is_stream=getattr(view, "is_stream", False))
        if needed not in found.scopes:
            raise Problem(403, "Not allowed", f"this key lacks the scope {needed}")
        if found.allows is not None:
            _refuse_other(found, getattr(view, "shared", ""))
        if request.method not in SAFE_METHODS:
            g.limits = authenticator.limits.admit(found, authenticator.address())

    def show_limits(response: Response) -> Response:
        states = g.get("limits", ())
        if states:
            response.headers.update(headers_of(states))
            if request.path.startswith("/v1/"):
                response.headers.update(openai_headers_of(states))
        return response

    def share(response: Response) -> Response:
        if request.query_string and (LINK_ARGUMENT in request.args or TOKEN_ARGUMENT in request.args):
            # The URL is a secret, and opened as a page it would be sent on.
            response.headers["Referrer-Policy"] = "no-referrer"
            if _is_by_grant(response):
                # A link or a token is all that a page has, so a page of any origin may read the answer.
                response.headers.setdefault("Access-Control-Allow-Origin", "*")
                response.headers.setdefault("Access-Control-Expose-Headers", ", ".join(EXPOSED))
        return response

    app.before_request(check)
    app.after_request(share)
    app.after_request(show_limits)


def _is_by_grant(response: Response) -> bool:
    """Whether the answer is to a link or a token, or tells that it is not valid. An argument alone proves nothing: on a
    server without keys any page could add one to any URL, and read the answer."""
    found: Caller | None = g.get("caller")
    return response.status_code == 401 if found is None else found.kind in (Kind.LINK, Kind.TOKEN)


def _refuse_other(found: Caller, shared: str) -> None:
    """Raise a 403 ``Problem`` if a link or a token does not allow this call, or is for another job or batch."""
    if not shared or shared not in (found.allows or ()):
        raise Problem(403, "Not allowed", f"this {found.kind.value} does not allow this call")
    for name, own in (("job_id", found.job), ("batch_id", found.batch)):
        asked = (request.view_args or {}).get(name)
        if asked is not None and own and asked != own:
            raise Problem(403, "Not allowed", f"this {found.kind.value} is for another {name.removesuffix('_id')}")
    if "batch_id" in (request.view_args or {}) and not found.batch:
        raise Problem(403, "Not allowed", f"this {found.kind.value} is for no batch")


def check_every_route_has_a_scope(app: Flask) -> None:
    """Raise ``AssertionError`` for a route that declares no scope."""
    for rule in app.url_map.iter_rules():
        if not hasattr(app.view_functions[rule.endpoint], "scope"):
            raise AssertionError(f"{rule.rule} declares no scope")
