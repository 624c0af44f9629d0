"""The caller of each request, and the scope that each route requires. A route without one fails at start."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from flask import Flask, current_app, g, request

from spool.access import caller as callers
from spool.access.caller import Caller
from web.access.authenticator import Authenticator
from web.problems import Problem

PUBLIC = "public"
"""The scope of a route that needs no credential."""
SCOPES = frozenset({*callers.SCOPES, PUBLIC})
"""The scopes that a route can require."""

View = TypeVar("View", bound=Callable[..., Any])


def scope(name: str) -> Callable[[View], View]:
    """Declare the scope that the route requires. Raises ``ValueError`` for an unknown scope."""
    if name not in SCOPES:
        raise ValueError(f"no scope {name!r}")

    def declare(view: View) -> View:
        view.scope = name  # type: ignore[attr-defined]
        return view

    return declare


def caller() -> Caller:
    """The caller of this request."""
    found: Caller = g.caller
    return found


def owner() -> str:
    """The owner of this request's credential."""
    return caller().owner


def install(app: Flask, authenticator: Authenticator) -> None:
    """Find the caller before every request to a known route, and check its scopes."""

    def check() -> None:
        view = current_app.view_functions.get(request.endpoint or "")
        needed = getattr(view, "scope", PUBLIC)
        if needed == PUBLIC or request.method == "OPTIONS":
            return
        g.caller = authenticator.caller()
        if needed not in g.caller.scopes:
            raise Problem(403, "Not allowed", f"this key lacks the scope {needed}")

    app.before_request(check)


def check_every_route_has_a_scope(app: Flask) -> None:
    """Raise ``AssertionError`` for a route that declares no scope."""
    for rule in app.url_map.iter_rules():
        if not hasattr(app.view_functions[rule.endpoint], "scope"):
            raise AssertionError(f"{rule.rule} declares no scope")
