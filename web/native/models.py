"""``GET /models``: the available models."""

from __future__ import annotations

from typing import Any

from flask import Blueprint

from web.auth import scope
from web.services import state

blueprint = Blueprint("models", __name__)


@blueprint.get("/models")
@scope("models:read")
def models() -> dict[str, Any]:
    """Every model with its backend and limits. ``default`` is the model of a job without ``model``."""
    table = state().models
    return {"models": [model.public() for model in table.all()], "default": table.default().name}
