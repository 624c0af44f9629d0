"""``/v1/models``: the available models in OpenAI's shape."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response

from spool.models.model import Model
from web.auth import scope
from web.intake.accept import known_model
from web.json_response import json_response
from web.services import state

blueprint = Blueprint("openai_models", __name__)


@blueprint.get("/v1/models")
@scope("models:read")
def models() -> Response:
    """List all models."""
    data = [_shown(model) for model in state().models.all()]
    return json_response({"object": "list", "data": data, "has_more": False})


@blueprint.get("/v1/models/<path:name>")
@scope("models:read")
def model(name: str) -> Response:
    """Show one model; its name may contain slashes."""
    return json_response(_shown(known_model(state(), name)))


def _shown(model: Model) -> dict[str, Any]:
    # The creation time is unknown, but the field is required.
    return {"id": model.name, "object": "model", "created": 0, "owned_by": model.upstream or "spool"}
