"""``GET /models``: the available models."""

from __future__ import annotations

from flask import Blueprint, Response
from typing_extensions import TypedDict

from spool.models.model import DEMO, Model
from web.auth import scope
from web.contract import Answer, Contract, json_content
from web.json_response import json_response
from web.services import state

blueprint = Blueprint("models", __name__)


class ModelLimits(TypedDict):
    """A model's limits: running jobs, and seconds; null for none."""

    max_running: int | None
    start_s: float | None
    first_token_s: float
    between_tokens_s: float
    alive_s: float


class ModelDocument(TypedDict):
    """A model that jobs can name."""

    name: str
    backend: str
    continues: bool
    limits: ModelLimits


class ModelList(TypedDict):
    """The available models. ``default`` is the model of a job without ``model``."""

    models: list[ModelDocument]
    default: str


def model_document(model: Model) -> ModelDocument:
    """The model as the API shows it, without the upstream's location."""
    return {
        "name": model.name,
        "backend": model.backend,
        "continues": model.continues,
        "limits": {
            "max_running": model.max_running or None,
            "start_s": model.start_s,
            "first_token_s": model.first_token_s,
            "between_tokens_s": model.between_tokens_s,
            "alive_s": model.alive_s,
        },
    }


def _list(models: list[Model], default: Model) -> ModelList:
    return {"models": [model_document(model) for model in models], "default": default.name}


@blueprint.get("/models")
@scope("models:read")
@Contract(
    answers={200: Answer("The models.", [json_content(ModelList, lambda: _list([DEMO], DEMO))])},
    errors=[503],
)
def models() -> Response:
    """Every model with its backend and limits. ``default`` is the model of a job without ``model``."""
    table = state().models
    return json_response(_list(table.all(), table.default()))
