"""``/v1/models`` for Anthropic's clients: the available models in their shape.

https://docs.anthropic.com/en/api/models-list. OpenAI's clients ask at the same path, so ``ModelPaths`` tells them apart
by the header ``anthropic-version``, which Anthropic requires.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal

from flask import Blueprint, Response
from typing_extensions import TypedDict

from spool.models.model import DEMO, Model
from web import auth
from web.anthropic.errors import MODELS_PREFIX
from web.auth import scope
from web.contract import Answer, Contract, json_content
from web.intake.accept import known_model
from web.json_response import json_response
from web.services import state

blueprint = Blueprint("anthropic_models", __name__)

_SHARED_PATH = "/v1/models"
_UNKNOWN_TIME = "1970-01-01T00:00:00Z"
"""Anthropic's own value for an unknown date."""

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class ModelPaths:
    """The WSGI middleware that leads ``/v1/models`` of Anthropic's clients to the routes of this module."""

    def __init__(self, app: Application) -> None:
        self._app = app

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer one request."""
        path = environ.get("PATH_INFO", "")
        if "HTTP_ANTHROPIC_VERSION" in environ and (path == _SHARED_PATH or path.startswith(f"{_SHARED_PATH}/")):
            environ["PATH_INFO"] = MODELS_PREFIX + path.removeprefix(_SHARED_PATH)
        return self._app(environ, start_response)


class ModelInfo(TypedDict):
    """A model. Spool knows nothing of its origin, so most fields are null."""

    type: Literal["model"]
    id: str
    display_name: str
    created_at: str
    lifecycle: Literal["active"]
    deprecated_at: None
    retires_at: None
    line: None
    capabilities: None
    max_input_tokens: None
    max_tokens: None


class ModelPage(TypedDict):
    """All models, as one page."""

    data: list[ModelInfo]
    first_id: str | None
    last_id: str | None
    has_more: bool


@blueprint.get(MODELS_PREFIX)
@scope("models:read")
@Contract(answers={200: Answer("The models.", [json_content(ModelPage, lambda: _page([DEMO]))])}, errors=[503])
def models() -> Response:
    """List the models that this key may name, in Anthropic's shape; with ``anthropic-version``, also at
    ``/v1/models``."""
    caller = auth.caller()
    return json_response(_page([model for model in state().models.all() if caller.may_name(model.name)]))


@blueprint.get(f"{MODELS_PREFIX}/<path:name>")
@scope("models:read")
@Contract(answers={200: Answer("The model.", [json_content(ModelInfo, lambda: _info(DEMO))])}, errors=[404, 503])
def model(name: str) -> Response:
    """Show one model in Anthropic's shape; its name may contain slashes."""
    return json_response(_info(known_model(state(), name)))


def _page(found: list[Model]) -> ModelPage:
    data = [_info(model) for model in found]
    first, last = (data[0]["id"], data[-1]["id"]) if data else (None, None)
    return {"data": data, "first_id": first, "last_id": last, "has_more": False}


def _info(model: Model) -> ModelInfo:
    return {
        "type": "model",
        "id": model.name,
        "display_name": model.name,
        "created_at": _UNKNOWN_TIME,
        "lifecycle": "active",
        "deprecated_at": None,
        "retires_at": None,
        "line": None,
        "capabilities": None,
        "max_input_tokens": None,
        "max_tokens": None,
    }
