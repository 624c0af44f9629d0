"""Where a request shows its credential."""

from __future__ import annotations

from typing import NamedTuple

from flask import Request

from spool.access.caller import Kind
from web.access.signer import TOKEN_PREFIX

LINK_ARGUMENT = "link"
TOKEN_ARGUMENT = "token"  # noqa: S105 - a name
SUBPROTOCOL_PREFIX = "spool.token."
COOKIE = "spool_session"
SECURE_COOKIE = f"__Host-{COOKIE}"
"""The cookie's name over https. Browsers take one of this name from this host alone (RFC 6265bis, section 4.1.3.2)."""


class Shown(NamedTuple):
    """What a request shows: the kind that it has by its place and form, and its text; empty text: nothing."""

    kind: Kind
    text: str = ""


def shown_by(request: Request, *, takes_token: bool) -> Shown:
    """The credential of a request. The most explicit counts: a header before an argument, and both before a cookie,
    which browsers add by themselves. ``takes_token``: the query may have a token, which is in no other URL."""
    # Every request passes here, so nothing is parsed that is not there.
    environ = request.environ
    scheme, _, text = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    if not scheme:
        # Anthropic's SDKs send a key so, and their tokens as bearers; Azure's clients use the other name.
        scheme, text = "bearer", environ.get("HTTP_X_API_KEY") or environ.get("HTTP_API_KEY", "")
    text = text.strip()
    if text or scheme.lower() != "bearer":
        if scheme.lower() != "bearer":
            return Shown(Kind.KEY)
        return Shown(Kind.TOKEN if text.startswith(TOKEN_PREFIX) else Kind.KEY, text)
    arguments = request.args if environ.get("QUERY_STRING") else {}
    if link := arguments.get(LINK_ARGUMENT, ""):
        return Shown(Kind.LINK, link)
    if takes_token and (token := arguments.get(TOKEN_ARGUMENT, "") or _of_subprotocol(request)):
        return Shown(Kind.TOKEN, token)
    if "HTTP_COOKIE" in environ and (
        cookie := request.cookies.get(SECURE_COOKIE, "") or request.cookies.get(COOKIE, "")
    ):
        return Shown(Kind.SESSION, cookie)
    return Shown(Kind.KEY)


def _of_subprotocol(request: Request) -> str:
    """The token among the subprotocols that a WebSocket offers."""
    offered = request.environ.get("HTTP_SEC_WEBSOCKET_PROTOCOL", "")
    names = (name.strip() for name in offered.split(",", 10))
    return next((name.removeprefix(SUBPROTOCOL_PREFIX) for name in names if name.startswith(SUBPROTOCOL_PREFIX)), "")
