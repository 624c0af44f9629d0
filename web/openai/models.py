"""``/v1/models``: what can be asked, as OpenAI's clients list it."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response

from spool.models.model import Model
from web.auth import scope
from web.intake.submission import known_model
from web.json_response import json_response
from web.services import state

blueprint = Blueprint("openai_models", __name__)


@blueprint.get("/v1/models")
@scope("models:read")
def models() -> Response:
    """Every model."""
    data = [_shown(model) for model in state().models.all()]
    return json_response({"object": "list", "data": data, "has_more": False})


@blueprint.get("/v1/models/<path:name>")
@scope("models:read")
def model(name: str) -> Response:
    """One model; its name may hold slashes."""
    return json_response(_shown(known_model(state(), name)))


def _shown(model: Model) -> dict[str, Any]:
    # Nobody knows when it was made; the field must be there.
    return {"id": model.name, "object": "model", "created": 0, "owned_by": model.upstream or "spool"}
