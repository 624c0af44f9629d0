"""Where no key is needed, only requests for this machine under a loopback name are answered: a page elsewhere must not
reach it under a name of its own (DNS rebinding). Werkzeug's ``TRUSTED_HOSTS`` does not know IPv6 addresses."""

from __future__ import annotations

import re

from flask import Flask, request

from spool.settings import WebSettings, is_loopback
from web.problems import Problem

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^:\[\]]+)(?::\d+)?", re.IGNORECASE)


def install(app: Flask, settings: WebSettings) -> None:
    """Refuse other hosts with 400, unless keys or ``SPOOL_ALLOW_ANONYMOUS`` say who may come."""
    if settings.owners_by_key() or settings.allow_anonymous or not is_loopback(settings.host):
        return
    own = f"[{settings.host}]" if ":" in settings.host else settings.host
    trusted = {"127.0.0.1", "localhost", "[::1]", own.lower()}

    def check() -> None:
        host = request.headers.get("Host")
        # No browser leaves it out.
        if host is not None and not is_trusted(host, trusted):
            raise Problem(400, "Bad Request", f"Host {host!r} is not trusted.")

    app.before_request(check)


def is_trusted(host: str, trusted: set[str]) -> bool:
    """Whether the name of a Host header, whatever its port, is one of these."""
    found = _HOST.fullmatch(host.strip())
    return found is not None and found[1].lower() in trusted
