"""For whoever runs it: is it alive, can it serve, what is it."""

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
    """The process answers. Says nothing about Redis: restarting this process would not mend that."""
    return {"status": "ok"}


@blueprint.get("/readyz")
@scope("public")
def readyz() -> dict[str, Any]:
    """Whether this process takes jobs, as its load balancer wants to know: 503 while it drains, while Redis does not
    answer, and in every other condition in which a submit would be refused. ``checks`` has all conditions by name;
    those that only warn (no worker, persistence off) leave it at 200: sending callers elsewhere would not mend them."""
    here = state()
    if here.draining:
        raise Draining
    try:
        here.store.check_writable()
        here.refuse_when_full()
    except StoreUnavailable as exc:
        problem = problem_of(exc)
        problem.extra["checks"] = here.conditions.as_checks()
        raise problem from exc
    return {"status": "ok", "checks": here.conditions.as_checks()}


@blueprint.get("/version")
@scope("public")
def version() -> dict[str, Any]:
    """What runs here."""
    return {"name": "spool", "version": spool.__version__}
