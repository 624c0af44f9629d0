"""``GET /models``: the available models."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from flask import Blueprint, Response
from typing_extensions import TypedDict

from spool.jobs.closed_models import ClosedModel
from spool.jobs.entries import rfc3339
from spool.models.model import DEMO, Model
from spool.switches.switch import Switch
from web import auth
from web.auth import scope
from web.contract import Answer, Contract, json_content
from web.json_response import json_response
from web.services import state

blueprint = Blueprint("models", __name__)


class ModelLimits(TypedDict):
    """A model's limits: running jobs, requests and tokens a minute, and seconds; null for none."""

    max_running: int | None
    rpm: int | None
    tpm: int | None
    start_s: float | None
    first_token_s: float
    between_tokens_s: float
    alive_s: float


class ClosedDocument(TypedDict):
    """Why a model is closed: its upstream refuses jobs. Once ``until`` has passed, a few jobs are tried. ``status``: of
    the upstream's answer, null without one."""

    since: str
    until: str
    reason: str
    status: int | None


class SwitchedDocument(TypedDict):
    """A switch that an operator has turned on for a model."""

    since: str
    reason: str


class ModelDocument(TypedDict):
    """A model that jobs can name. ``paused``: none of its jobs begins. ``submits_stopped``: none is accepted."""

    name: str
    backend: str
    continues: bool
    limits: ModelLimits
    closed: ClosedDocument | None
    paused: SwitchedDocument | None
    submits_stopped: SwitchedDocument | None


class ModelList(TypedDict):
    """The available models. ``default`` is the model of a job without ``model``."""

    models: list[ModelDocument]
    default: str


def model_document(
    model: Model,
    closed: ClosedModel | None = None,
    *,
    paused: Switch | None = None,
    submits_stopped: Switch | None = None,
) -> ModelDocument:
    """The model as the API shows it, without the upstream's location. ``closed``: if its upstream refuses jobs; the
    others are the switches that are on for it."""
    return {
        "name": model.name,
        "backend": model.backend,
        "continues": model.continues,
        "limits": {
            "max_running": model.max_running or None,
            "rpm": model.rpm or None,
            "tpm": model.tpm or None,
            "start_s": model.start_s,
            "first_token_s": model.first_token_s,
            "between_tokens_s": model.between_tokens_s,
            "alive_s": model.alive_s,
        },
        "closed": None if closed is None else _closed_document(closed),
        "paused": _switched_document(paused),
        "submits_stopped": _switched_document(submits_stopped),
    }


def _switched_document(switch: Switch | None) -> SwitchedDocument | None:
    return None if switch is None else {"since": rfc3339(switch.since_ms / 1000), "reason": switch.reason}


def _closed_document(closed: ClosedModel) -> ClosedDocument:
    return {
        "since": rfc3339(closed.since),
        "until": rfc3339(closed.until),
        "reason": closed.reason,
        "status": closed.status,
    }


def _list(
    models: list[Model],
    default: Model,
    closed: Mapping[str, ClosedModel],
    paused: Callable[[str], Switch | None] = lambda _model: None,
    stopped: Callable[[str], Switch | None] = lambda _model: None,
) -> ModelList:
    documents = [
        model_document(model, closed.get(model.name), paused=paused(model.name), submits_stopped=stopped(model.name))
        for model in models
    ]
    return {"models": documents, "default": default.name}


@blueprint.get("/models")
@scope("models:read")
@Contract(
    answers={200: Answer("The models.", [json_content(ModelList, lambda: _list([DEMO], DEMO, {}))])},
    errors=[503],
)
def models() -> Response:
    """The models that this key may name, with their backends and limits, whether their upstreams refuse jobs
    (``closed``), and whether an operator has paused them or stopped their submits.

    ``default`` is the model of a job without ``model``.
    """
    services, caller = state(), auth.caller()
    models = [model for model in services.models.all() if caller.may_name(model.name)]
    switches = services.switches
    return json_response(
        _list(
            models,
            services.models.default(),
            services.closed_models,
            switches.pause_of,
            switches.stop_of_model,
        )
    )
