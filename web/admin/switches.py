"""``/admin/switches``: what operators stop, pause, drain or turn off, without a deploy."""

from __future__ import annotations

from typing import Annotated

from flask import Blueprint, Response
from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from spool.jobs.entries import rfc3339
from spool.switches.switch import REASON_CHARACTERS, Kind, Switch, checked
from web import auth
from web.access.audit import audit
from web.auth import scope
from web.contract import Answer, Contract, json_content
from web.intake import shapes
from web.intake.body import json_body
from web.json_response import json_response
from web.services import state

blueprint = Blueprint("switches", __name__)


class Turn(BaseModel):
    """How a switch is turned on."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    reason: Annotated[str, Field(max_length=REASON_CHARACTERS)] = Field(
        "", description="Shown in the answers that it causes; the text of a notice."
    )
    value: int | None = Field(None, description="The number of `max-streams`.")


class SwitchDocument(TypedDict):
    """A switch that is on. ``by``: the owner that turned it on, or ``cli``."""

    kind: str
    target: str
    reason: str
    value: int | None
    since: str
    by: str


class SwitchList(TypedDict):
    """The switches that are on, by name."""

    switches: list[SwitchDocument]


def switch_document(switch: Switch) -> SwitchDocument:
    """The switch as the API shows it."""
    return {
        "kind": switch.kind.value,
        "target": switch.target,
        "reason": switch.reason,
        "value": switch.value,
        "since": rfc3339(switch.since_ms / 1000),
        "by": switch.by,
    }


_EXAMPLE = Switch(Kind.PAUSE, "model:demo", "the model server is moved", since_ms=1795253400123, by="root")
_SWITCH = json_content(SwitchDocument, lambda: switch_document(_EXAMPLE))


@blueprint.get("/admin/switches")
@scope("admin")
@Contract(
    answers={
        200: Answer("The switches.", [json_content(SwitchList, lambda: {"switches": [switch_document(_EXAMPLE)]})])
    },
    errors=[503],
)
def listing() -> Response:
    """List the switches that are on."""
    return json_response({"switches": [switch_document(switch) for switch in state().switches.store.all()]})


@blueprint.put("/admin/switches/<kind>/<path:target>")
@scope("admin")
@Contract(
    body=[json_content(Turn, lambda: {"reason": "the model server is moved"})],
    answers={200: Answer("The switch is on. All webs and workers obey it within 2 s.", [_SWITCH])},
    errors=[409, 413, 415, 422, 503],
)
def turn_on(kind: str, target: str) -> Response:
    """Turn a switch on, until it is taken back: `stop-submits` and `pause` of `all` or `model:NAME`, the first also of
    `class:batch` or `owner:NAME`; `drain` of an instance; `transport-off` of `sse`, `ndjson`, `text`, `websocket` or
    `long-polling`; `max-streams` and `notice` of `all`."""
    asked = shapes.checked(Turn, json_body())
    switch = checked(kind, target, reason=asked.reason, value=asked.value)
    on = state().switches.store.turn_on(switch, by=auth.owner())
    audit("switch.on", on.name, reason=on.reason or None, value=on.value)
    return json_response(switch_document(on))


@blueprint.delete("/admin/switches/<kind>/<path:target>")
@scope("admin")
@Contract(answers={204: Answer("The switch is off.")}, errors=[404, 422, 503])
def turn_off(kind: str, target: str) -> Response:
    """Take a switch back."""
    switch = checked(kind, target, reason="-", value=0 if kind == Kind.MAX_STREAMS else None)
    state().switches.store.turn_off(switch)
    audit("switch.off", switch.name)
    return Response(status=204)
