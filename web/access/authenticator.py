"""The one place that finds the caller of a request from the credential that it shows."""

from __future__ import annotations

from flask import request

from spool.access.caller import ANONYMOUS, Caller
from spool.settings import WebSettings
from web import origins
from web.access.static_table import StaticTable
from web.problems import Problem

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class Authenticator:
    """Finds callers. Without keys in the settings, every caller is anonymous and any credential is ignored."""

    def __init__(self, settings: WebSettings) -> None:
        self._settings = settings
        self._static = StaticTable(settings.static_keys(), settings.api_keys_file)

    def caller(self) -> Caller:
        """The caller of this request. Raises a 401 ``Problem``, and 403 for a page of another origin."""
        if not self._settings.needs_credential():
            if request.method not in _SAFE_METHODS:
                origins.refuse_foreign(self._settings)
            return ANONYMOUS
        secret = _shown_secret()
        caller = self._static.caller(secret) if secret else None
        if caller is None:
            raise not_authenticated()
        return caller

    def look(self) -> None:
        """Take over changes of credentials. Call it every second."""
        self._static.look()


def _shown_secret() -> bytes:
    """The secret of the request's headers; empty if there is none."""
    kind, _, secret = request.headers.get("Authorization", "").partition(" ")
    if not kind:
        # Anthropic's SDKs send a key so, and their tokens as bearers.
        kind, secret = "bearer", request.headers.get("x-api-key", "")
    # WSGI decodes header bytes as Latin-1; a key is UTF-8 text.
    return secret.strip().encode("latin-1") if kind.lower() == "bearer" else b""


def not_authenticated(detail: str = "send a valid key as 'Authorization: Bearer …'") -> Problem:
    """The problem of a request without a valid credential."""
    return Problem(401, "Not authenticated", detail, headers={"WWW-Authenticate": 'Bearer realm="spool"'})
