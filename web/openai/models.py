"""``/v1/models``: the available models in OpenAI's shape."""

from __future__ import annotations

from typing import Literal

from flask import Blueprint, Response
from typing_extensions import TypedDict

from spool.models.model import DEMO, Model
from web import auth
from web.auth import scope
from web.contract import Answer, Contract, json_content
from web.intake.accept import known_model
from web.json_response import json_response
from web.services import state

blueprint = Blueprint("openai_models", __name__)


class ModelObject(TypedDict):
    """A model."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelObjects(TypedDict):
    """All models."""

    object: Literal["list"]
    data: list[ModelObject]
    has_more: bool


@blueprint.get("/v1/models")
@scope("models:read")
@Contract(answers={200: Answer("The models.", [json_content(ModelObjects, lambda: _list([DEMO]))])}, errors=[503])
def models() -> Response:
    """List the models that this key may name."""
    caller = auth.caller()
    return json_response(_list([model for model in state().models.all() if caller.may_name(model.name)]))


@blueprint.get("/v1/models/<path:name>")
@scope("models:read")
@Contract(answers={200: Answer("The model.", [json_content(ModelObject, lambda: _shown(DEMO))])}, errors=[422, 503])
def model(name: str) -> Response:
    """Show one model; its name may contain slashes."""
    return json_response(_shown(known_model(state(), name)))


def _list(models: list[Model]) -> ModelObjects:
    return {"object": "list", "data": [_shown(model) for model in models], "has_more": False}


def _shown(model: Model) -> ModelObject:
    # The creation time is unknown, but the field is required.
    return {"id": model.name, "object": "model", "created": 0, "owned_by": model.upstream or "spool"}
