"""Health endpoints for operators: liveness, readiness, version."""

from __future__ import annotations

from typing import Any

from flask import Blueprint

import spool
from spool.errors import Draining, StoreUnavailable
from web.auth import scope
from web.problems import problem_of
from web.services import state

blueprint = Blueprint("operations", __name__)


@blueprint.get("/livez")
@scope("public")
def livez() -> dict[str, str]:
    """Liveness: the process answers. Does not check Redis, because restarting this process would not repair it."""
    return {"status": "ok"}


@blueprint.get("/readyz")
@scope("public")
def readyz() -> dict[str, Any]:
    """Readiness, for load balancers: 503 while this process drains, while Redis does not answer, and in every other
    condition that refuses a submit. ``checks`` lists all conditions by name. Conditions that only warn (no worker,
    persistence off) keep 200, because routing callers elsewhere would not help."""
    services = state()
    if services.draining:
        raise Draining
    try:
        services.store.check_writable()
        services.refuse_when_full()
    except StoreUnavailable as exc:
        problem = problem_of(exc)
        problem.extra["checks"] = services.conditions.as_checks()
        raise problem from exc
    return {"status": "ok", "checks": services.conditions.as_checks()}


@blueprint.get("/version")
@scope("public")
def version() -> dict[str, Any]:
    """The name and version of the server."""
    return {"name": "spool", "version": spool.__version__}
