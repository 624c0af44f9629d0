"""``/session``: the console's login with a key. The cookie is for pages of this server alone."""

from __future__ import annotations

import time
from typing import Annotated

from flask import Blueprint, Response, request
from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from spool.access.caller import Caller, Kind
from spool.access.grants import Grant
from spool.jobs.entries import rfc3339
from spool.settings import in_local_demo
from web import origin_check
from web.access.audit import audit
from web.access.authenticator import not_authenticated
from web.access.shown import COOKIE, SECURE_COOKIE
from web.auth import scope
from web.contract import Answer, Contract, json_content
from web.intake.body import json_body
from web.intake.shapes import checked
from web.json_response import json_response
from web.problems import Problem
from web.services import state

blueprint = Blueprint("session", __name__)

LIFE_S = 12 * 3600


class Login(BaseModel):
    """A login."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    key: Annotated[str, Field(min_length=1, max_length=500)]


class SessionDocument(TypedDict):
    """The caller, as far as its request shows one. ``required``: this server needs a key. ``local_demo``: the console
    may kill processes (``/demo/kill``)."""

    required: bool
    owner: str | None
    kind: str | None
    scopes: list[str]
    expires_at: str | None
    local_demo: bool


_SESSION = json_content(
    SessionDocument, lambda: _document(Caller(owner="alice", scopes=frozenset({"jobs:read"}), kind=Kind.SESSION))
)


def _document(caller: Caller | None, *, required: bool = True) -> SessionDocument:
    return {
        "required": required,
        "owner": caller.owner if caller else None,
        "kind": caller.kind.value if caller else None,
        "scopes": sorted(caller.scopes) if caller else [],
        "expires_at": rfc3339(caller.expires_at) if caller and caller.expires_at else None,
        "local_demo": in_local_demo(),
    }


@blueprint.get("/session")
@scope("public")
@Contract(answers={200: Answer("The caller; nulls if there is none.", [_SESSION])}, errors=[503])
def show() -> Response:
    """Show the caller of this request, and whether this server needs a key."""
    services = state()
    try:
        caller = services.authenticator.caller(is_stream=False)
    except Problem as problem:
        if problem.status != 401:
            raise
        caller = None
    return json_response(_document(caller, required=services.settings.needs_credential()))


@blueprint.post("/session")
@scope("public")
@Contract(
    body=[json_content(Login, lambda: {"key": "sk-spool-…"})],
    answers={200: Answer("The session, whose cookie is set.", [_SESSION])},
    errors=[401, 403, 413, 415, 422, 429, 503],
)
def login() -> Response:
    """Begin a session of 12 hours with a key. It ends with its key."""
    origin_check.refuse_all_but_own()
    authenticator = state().authenticator
    asked = checked(Login, json_body())
    caller = authenticator.of_secret(asked.key.strip().encode())
    if caller.kind not in (Kind.STATIC, Kind.KEY):
        # A token of a provider ends sooner, and may allow less than a session can know later.
        raise not_authenticated("log in with a key")
    expires_at = int(time.time() + LIFE_S)
    grant = Grant(
        kind=Kind.SESSION,
        owner=caller.owner,
        expires_at=expires_at,
        parent=caller.kind,
        credential=caller.credential,
        binding=authenticator.signer.binding(caller),
    )
    session = Caller(owner=caller.owner, scopes=caller.scopes, kind=Kind.SESSION, expires_at=expires_at)
    response, is_secure = json_response(_document(session)), authenticator.is_secure()
    response.set_cookie(
        SECURE_COOKIE if is_secure else COOKIE,
        authenticator.signer.sign(grant),
        max_age=LIFE_S,
        httponly=True,
        samesite="Strict",
        secure=is_secure,
    )
    audit("session.begin", caller.credential)
    return response


@blueprint.delete("/session")
@scope("public")
@Contract(answers={204: Answer("The cookie is removed.")}, errors=[403])
def logout() -> Response:
    """End the session in this browser."""
    origin_check.refuse_all_but_own()
    response = Response(status=204)
    shown = [name for name in (COOKIE, SECURE_COOKIE) if name in request.cookies]
    for name in shown:
        # Browsers ignore a change of a __Host- cookie that is not secure.
        response.delete_cookie(name, httponly=True, samesite="Strict", secure=name == SECURE_COOKIE)
    if shown:
        audit("session.end")
    return response
