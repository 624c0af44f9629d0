"""Authentication and scopes. Every route declares its scope; a route without one fails at start."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from flask import Flask, current_app, g, request

from spool.settings import WebSettings
from web import origins
from web.problems import Problem

SCOPES = frozenset({"jobs:read", "jobs:write", "models:read", "operations:read", "public"})
"""The scopes that a route can require; ``public`` needs no credential."""
ANONYMOUS = "anonymous"
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

View = TypeVar("View", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Credential:
    """A caller's credential: its owner and its scopes."""

    owner: str
    scopes: frozenset[str]


def scope(name: str) -> Callable[[View], View]:
    """Declare the scope that the route requires. Raises ``ValueError`` for an unknown scope."""
    if name not in SCOPES:
        raise ValueError(f"no scope {name!r}")

    def declare(view: View) -> View:
        view.scope = name  # type: ignore[attr-defined]
        return view

    return declare


def owner() -> str:
    """The owner of this request's credential."""
    credential: Credential = g.credential
    return credential.owner


def install(app: Flask, settings: WebSettings) -> None:
    """Check the credential before every request to a known route."""
    by_digest = {_digest(secret): name for secret, name in settings.owners_by_key().items()}
    everything = SCOPES - {"public"}

    def credential() -> Credential:
        if not by_digest:
            if request.method not in _SAFE_METHODS:
                origins.refuse_foreign(settings)
            return Credential(ANONYMOUS, everything)
        kind, _, secret = request.headers.get("Authorization", "").partition(" ")
        if not kind:
            # Anthropic's SDKs send a key so, and their tokens as bearers.
            kind, secret = "bearer", request.headers.get("x-api-key", "")
        if kind.lower() == "bearer" and secret:
            # WSGI decodes header bytes as Latin-1; a key is UTF-8 text.
            shown = hashlib.sha256(secret.strip().encode("latin-1")).digest()
            for known, name in by_digest.items():
                if hmac.compare_digest(shown, known):
                    return Credential(name, everything)
        raise Problem(
            401,
            "Not authenticated",
            "send a valid key as 'Authorization: Bearer …'",
            headers={"WWW-Authenticate": 'Bearer realm="spool"'},
        )

    def check() -> None:
        view = current_app.view_functions.get(request.endpoint or "")
        needed = getattr(view, "scope", "public")
        if needed == "public" or request.method == "OPTIONS":
            return
        g.credential = credential()
        if needed not in g.credential.scopes:
            raise Problem(403, "Not allowed", f"this key lacks the scope {needed}")

    app.before_request(check)


def check_every_route_has_a_scope(app: Flask) -> None:
    """Raise ``AssertionError`` for a route that declares no scope."""
    for rule in app.url_map.iter_rules():
        if not hasattr(app.view_functions[rule.endpoint], "scope"):
            raise AssertionError(f"{rule.rule} declares no scope")


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
