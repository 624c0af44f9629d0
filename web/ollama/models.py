"""``/api/tags``, ``/api/show``, ``/api/ps`` and ``/api/version``: the models as Ollama's clients list them."""

from __future__ import annotations

from typing import Annotated, Any

from flask import Blueprint, Response
from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from spool.models.model import DEMO, Model
from web import auth
from web.auth import scope
from web.contract import Answer, Contract, json_content
from web.intake.accept import known_model
from web.intake.body import job_body, parse_json
from web.intake.shapes import checked
from web.json_response import json_response
from web.problems import field_problem
from web.services import state

blueprint = Blueprint("ollama_models", __name__)

API_VERSION = "0.13.0"
"""The version of Ollama whose API this is. Clients refuse older ones."""
_UNKNOWN_TIME = "1970-01-01T00:00:00Z"


class OllamaDetails(TypedDict):
    """The details of a model, which Spool does not know."""

    parent_model: str
    format: str
    family: str
    families: list[str]
    parameter_size: str
    quantization_level: str


class OllamaModel(TypedDict):
    """A model."""

    name: str
    model: str
    modified_at: str
    size: int
    digest: str
    details: OllamaDetails


class OllamaModels(TypedDict):
    """All models."""

    models: list[OllamaModel]


class OllamaShown(TypedDict):
    """One model."""

    modelfile: str
    parameters: str
    template: str
    details: OllamaDetails
    model_info: dict[str, Any]
    capabilities: list[str]
    modified_at: str


class OllamaVersion(TypedDict):
    """A version."""

    version: str


class ShowRequest(BaseModel):
    """The body of ``POST /api/show``. Older clients send ``name``."""

    model_config = ConfigDict(extra="ignore", strict=True, defer_build=True)

    model: Annotated[str, Field(max_length=200)] | None = None
    name: Annotated[str, Field(max_length=200)] | None = None


_DETAILS: OllamaDetails = {
    "parent_model": "",
    "format": "",
    "family": "",
    "families": [],
    "parameter_size": "",
    "quantization_level": "",
}


@blueprint.get("/api/tags")
@scope("models:read")
@Contract(answers={200: Answer("The models.", [json_content(OllamaModels, lambda: _list([DEMO]))])}, errors=[503])
def tags() -> Response:
    """List the models that this key may name, in Ollama's shape."""
    return json_response(_list(_named()))


@blueprint.get("/api/ps")
@scope("models:read")
@Contract(answers={200: Answer("The models.", [json_content(OllamaModels, lambda: _list([DEMO]))])}, errors=[503])
def loaded_models() -> Response:
    """List the models that this key may name: each is as ready as it can be."""
    return json_response(_list(_named()))


@blueprint.post("/api/show")
@scope("models:read")
@Contract(
    body=[json_content(ShowRequest, lambda: {"model": "demo"})],
    answers={200: Answer("The model.", [json_content(OllamaShown, lambda: _shown())])},
    errors=[404, 413, 415, 422, 503],
)
def show() -> Response:
    """Show one model in Ollama's shape."""
    asked = checked(ShowRequest, parse_json(job_body(), "body"))
    name = asked.model or asked.name
    if not name:
        raise field_problem("model", "is required")
    known_model(state(), name)
    return json_response(_shown())


@blueprint.get("/api/version")
@scope("public")
@Contract(answers={200: Answer("The version.", [json_content(OllamaVersion, lambda: {"version": API_VERSION})])})
def version() -> Response:
    """The version of Ollama whose API this is."""
    return json_response({"version": API_VERSION})


def _named() -> list[Model]:
    caller = auth.caller()
    return [model for model in state().models.all() if caller.may_name(model.name)]


def _list(models: list[Model]) -> OllamaModels:
    return {"models": [_model(model) for model in models]}


def _model(model: Model) -> OllamaModel:
    return {
        "name": model.name,
        "model": model.name,
        "modified_at": _UNKNOWN_TIME,
        "size": 0,
        "digest": "",
        "details": _DETAILS,
    }


def _shown() -> OllamaShown:
    # Spool does not know which models take tools, so clients may try.
    return {
        "modelfile": "",
        "parameters": "",
        "template": "",
        "details": _DETAILS,
        "model_info": {},
        "capabilities": ["completion", "tools"],
        "modified_at": _UNKNOWN_TIME,
    }
