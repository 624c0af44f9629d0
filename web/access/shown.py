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
    scheme, _, text = request.headers.get("Authorization", "").partition(" ")
    if not scheme:
        # Anthropic's SDKs send a key so, and their tokens as bearers; Azure's clients use the other name.
        scheme, text = "bearer", request.headers.get("x-api-key") or request.headers.get("api-key", "")
    text = text.strip()
    if text or scheme.lower() != "bearer":
        if scheme.lower() != "bearer":
            return Shown(Kind.KEY)
        return Shown(Kind.TOKEN if text.startswith(TOKEN_PREFIX) else Kind.KEY, text)
    if link := request.args.get(LINK_ARGUMENT, ""):
        return Shown(Kind.LINK, link)
    if takes_token and (token := request.args.get(TOKEN_ARGUMENT, "") or _of_subprotocol(request)):
        return Shown(Kind.TOKEN, token)
    if cookie := request.cookies.get(SECURE_COOKIE, "") or request.cookies.get(COOKIE, ""):
        return Shown(Kind.SESSION, cookie)
    return Shown(Kind.KEY)


def _of_subprotocol(request: Request) -> str:
    """The token among the subprotocols that a WebSocket offers."""
    offered = request.headers.get("Sec-WebSocket-Protocol", "")
    names = (name.strip() for name in offered.split(",", 10))
    return next((name.removeprefix(SUBPROTOCOL_PREFIX) for name in names if name.startswith(SUBPROTOCOL_PREFIX)), "")
