"""The Host check of servers without keys: only loopback names are served.

It stops DNS rebinding, by which a foreign page reaches this machine under its own name. Werkzeug's ``TRUSTED_HOSTS``
does not know IPv6 addresses."""

from __future__ import annotations

import re

from flask import Flask, request

from spool.settings import WebSettings, is_loopback
from web.problems import Problem

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^:\[\]]+)(?::\d+)?", re.IGNORECASE)


def install(app: Flask, settings: WebSettings) -> None:
    """Refuse other hosts with 400, unless keys, ``SPOOL_ALLOW_ANONYMOUS`` or a non-loopback bind address are set."""
    if settings.needs_credential() or settings.allow_anonymous or not is_loopback(settings.host):
        return
    own = f"[{settings.host}]" if ":" in settings.host else settings.host
    trusted = {"127.0.0.1", "localhost", "[::1]", own.lower()}

    def check() -> None:
        host = request.headers.get("Host")
        # Every browser sends Host, so a request without it is no rebinding attack.
        if host is not None and not is_trusted(host, trusted):
            raise Problem(400, "Bad Request", f"Host {host!r} is not trusted.")

    app.before_request(check)


def is_trusted(host: str, trusted: set[str]) -> bool:
    """Whether a Host header names one of ``trusted``. The port is ignored."""
    match = _HOST.fullmatch(host.strip())
    return match is not None and match[1].lower() in trusted
