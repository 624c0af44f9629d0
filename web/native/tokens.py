"""``POST /tokens``: short-lived tokens for browsers, for one job, batch or conversation."""

from __future__ import annotations

import time
from typing import Annotated

from flask import Blueprint, Response
from pydantic import BaseModel, ConfigDict, Field, model_validator
from typing_extensions import TypedDict

from spool.access.caller import Caller, Kind
from spool.access.grants import Grant
from spool.jobs.entries import rfc3339
from web import auth
from web.access.audit import audit
from web.access.shown import SUBPROTOCOL_PREFIX
from web.access.signer import TOKEN_PREFIX
from web.auth import scope
from web.contract import Answer, Contract, json_content
from web.intake.body import json_body
from web.intake.shapes import checked
from web.json_response import json_response
from web.problems import Problem
from web.services import State, state

blueprint = Blueprint("tokens", __name__)

_LIFE_AT_MOST_S = 86_400
_OF_JOB = ("stream", "ws", "entries", "show", "durable")
_OF_BATCH = ("batch", "results")


class TokenScope(BaseModel):
    """What the token is for: exactly one of the three."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    job: Annotated[str, Field(min_length=1, max_length=100)] = ""
    batch: Annotated[str, Field(min_length=1, max_length=100)] = ""
    conversation: Annotated[str, Field(min_length=1, max_length=200)] = ""

    @model_validator(mode="after")
    def _one(self) -> TokenScope:
        if sum(map(bool, (self.job, self.batch, self.conversation))) != 1:
            raise ValueError("give exactly one of job, batch and conversation")
        return self


class WantedToken(BaseModel):
    """The token to make."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    scope: TokenScope
    cancel: bool = Field(False, description="Whether it may cancel the jobs that it may read.")
    ttl_s: int = Field(600, ge=1, le=_LIFE_AT_MOST_S, description="Its life. What is open under it ends with it.")


class TokenDocument(TypedDict):
    """A token, and the WebSocket subprotocol that shows it; offer ``spool.json`` or ``spool.text`` beside it."""

    token: str
    subprotocol: str
    expires_at: str


@blueprint.post("/tokens")
@scope("jobs:read")
@Contract(
    body=[json_content(WantedToken, lambda: {"scope": {"job": "j0-…"}, "ttl_s": 600})],
    answers={
        200: Answer(
            "The token.",
            [
                json_content(
                    TokenDocument,
                    lambda: {
                        "token": f"{TOKEN_PREFIX}…",
                        "subprotocol": f"{SUBPROTOCOL_PREFIX}{TOKEN_PREFIX}…",
                        "expires_at": rfc3339(1795257000),
                    },
                )
            ],
        )
    },
    errors=[404, 409, 410, 413, 415, 422, 503],
)
def create() -> Response:
    """Make a token that a page may have: it reads one job, the jobs of a batch, or those of a conversation."""
    asked, caller, services = checked(WantedToken, json_body()), auth.caller(), state()
    _refuse_more_than_its_own(asked, caller, services)
    expires_at = int(time.time() + asked.ttl_s)
    if caller.expires_at is not None:
        expires_at = min(expires_at, int(caller.expires_at))
    signer, inside = services.authenticator.signer, asked.scope
    grant = Grant(
        kind=Kind.TOKEN,
        owner=caller.owner,
        expires_at=expires_at,
        parent=caller.parent or caller.kind,
        credential=caller.credential,
        binding=signer.binding(caller),
        allows=(*_OF_JOB, *(_OF_BATCH if inside.batch else ()), *(("cancel",) if asked.cancel else ())),
        job=inside.job,
        batch=inside.batch,
        conversation=inside.conversation,
    )
    token = signer.sign(grant)
    audit("token.create", inside.job or inside.batch or "conversation", cancel=asked.cancel)
    document: TokenDocument = {
        "token": token,
        "subprotocol": f"{SUBPROTOCOL_PREFIX}{token}",
        "expires_at": rfc3339(expires_at),
    }
    return json_response(document)


def _refuse_more_than_its_own(asked: WantedToken, caller: Caller, services: State) -> None:
    """Raise a 403 ``Problem`` for a token that may do more than the caller, and the errors of an unknown job or batch.
    A conversation may begin later."""
    needed = {"jobs:write"} if asked.cancel else set[str]()
    if asked.scope.batch:
        needed.add("batches")
    for name in sorted(needed - caller.scopes):
        raise Problem(403, "Not allowed", f"such a token needs the scope {name}")
    if asked.scope.job:
        services.store.look(asked.scope.job, caller.owner)
    if asked.scope.batch:
        services.store.batch(asked.scope.batch, caller.owner)
