"""The Origin check of servers without keys: CSRF protection, since a browser has the user's access to this machine.

Where keys are required, a foreign page has none. Without keys, a form or a ``fetch`` of any page reaches a loopback
server, and without a preflight (https://fetch.spec.whatwg.org/#cors-safelisted-method). Such requests carry
``Origin``, or at least ``Sec-Fetch-Site``. No page can set these; programs send neither.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import request

from spool.settings import WebSettings
from web.problems import Problem

_PORTS = {"http": 80, "https": 443}


def refuse_foreign(settings: WebSettings) -> None:
    """Raise a 403 ``Problem`` for a page of another origin that is not in ``SPOOL_ALLOWED_ORIGINS``."""
    allowed = settings.origins()
    origin = request.headers.get("Origin")
    site = request.headers.get("Sec-Fetch-Site", "").lower()
    if "*" in allowed or origin in allowed or site == "same-origin":
        return
    if origin is not None and not _is_own(origin):
        raise Problem(403, "Not allowed", f"the origin {origin[:200]!r} is not in SPOOL_ALLOWED_ORIGINS")
    if origin is None and site not in ("", "none"):
        raise Problem(403, "Not allowed", "a cross-site request needs an Origin header")


def refuse_all_but_own() -> None:
    """Raise a 403 ``Problem`` for a request that comes from a page of another origin, or may do so: browsers add a
    session to it by themselves."""
    origin = request.headers.get("Origin")
    if origin is not None:
        is_own = _is_own(origin)
    else:
        is_own = request.headers.get("Sec-Fetch-Site", "").lower() in ("same-origin", "none", "")
    if not is_own:
        raise Problem(403, "Not allowed", "a session is for the pages of this server alone")


def _is_own(origin: str) -> bool:
    """Whether the origin has the requested host and port. The scheme may differ: a proxy may have ended TLS."""
    try:
        parts = urlsplit(origin)
        port = parts.port
        own = urlsplit(f"//{request.host}")
        own_port = own.port
    except ValueError:
        return False
    if parts.scheme not in _PORTS or parts.hostname is None:
        return False
    default = _PORTS[parts.scheme]
    return parts.hostname == own.hostname and (port or default) == (own_port or default)
