"""Audit lines: one JSON line for each change of a credential, submit, cancellation, deletion and refused call."""

from __future__ import annotations

import logging
from typing import Any

from flask import current_app, g, request

from spool.access.caller import Caller

log = logging.getLogger("spool.audit")


def audit(action: str, what: str = "", **fields: Any) -> None:
    """Write one line: the caller, the action, and what it concerned. No secret and no text of a job may be in it."""
    caller: Caller | None = g.get("caller")
    authenticator = current_app.extensions["spool"].authenticator
    log.info(
        "audit",
        extra={
            "action": action,
            "what": what,
            "owner": caller.owner if caller else None,
            "credential": caller.credential if caller else None,
            "kind": caller.kind.value if caller else None,
            "address": authenticator.address(),
            "route": str(request.url_rule or ""),
            **fields,
        },
    )
