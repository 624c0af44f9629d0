"""For whoever runs it: is it alive, can it serve, what is it."""

from __future__ import annotations

from typing import Any

from flask import Blueprint

import spool
from spool.errors import Draining
from web.auth import scope
from web.state import state

blueprint = Blueprint("operations", __name__)


@blueprint.get("/livez")
@scope("public")
def livez() -> dict[str, str]:
    """The process answers. Says nothing about Redis: restarting this process would not mend that."""
    return {"status": "ok"}


@blueprint.get("/readyz")
@scope("public")
def readyz() -> dict[str, str]:
    """This process can take jobs: Redis answers and may be used, and it is not on its way out. 503 if not."""
    here = state()
    if here.draining:
        raise Draining
    here.refuse_unfit()
    here.store.check_writable()
    return {"status": "ok"}


@blueprint.get("/version")
@scope("public")
def version() -> dict[str, Any]:
    """What runs here."""
    return {"name": "spool", "version": spool.__version__}
