"""Audit lines: one for each change of a credential and each refused call. Submits, cancellations and deletions have
lines of their own (``web.request_ids``)."""

from __future__ import annotations

from typing import Any

from flask import current_app, g, request

from spool.access.caller import Caller
from web.request_ids import say


def audit(action: str, what: str = "", **fields: Any) -> None:
    """Write one line: the caller, the action, and what it concerned. No secret and no text of a job may be in it."""
    caller: Caller | None = g.get("caller")
    authenticator = current_app.extensions["spool"].authenticator
    say(
        "audit",
        action=action,
        what=what or None,
        owner=caller.owner if caller else None,
        credential=(caller.credential or None) if caller else None,
        kind=caller.kind.value if caller else None,
        address=authenticator.address() or None,
        route=str(request.url_rule or "") or None,
        **fields,
    )
