"""``/admin/keys``: API keys in Redis. A key is shown once, when it is created."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Annotated, Any

import orjson
from flask import Blueprint, Response
from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from spool.access.caller import BY_DEFAULT, is_owner, parse_scopes
from spool.access.key_store import KeyStore
from spool.access.keys import PREFIX, Key
from spool.access.limits import KeyLimits
from spool.jobs.entries import rfc3339
from web.access.audit import audit
from web.arguments import Query, query
from web.auth import scope
from web.contract import Answer, Contract, json_content
from web.delivery.building import building
from web.intake.body import json_body
from web.intake.shapes import Metadata, checked
from web.json_response import json_response
from web.problems import field_problem
from web.services import state
from web.time_slices import in_slices

blueprint = Blueprint("keys", __name__)

_LIFE_AT_MOST_S = 10 * 365 * 86_400


class NewKey(BaseModel):
    """A key to create."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    owner: Annotated[str, Field(min_length=1, max_length=64, description="The owner of what its callers submit.")]
    name: Annotated[str, Field(max_length=100)] = ""
    scopes: Annotated[list[str], Field(max_length=10)] | None = Field(
        None, description="Default: all but `admin`.", examples=[["jobs:read", "jobs:write"]]
    )
    models: Annotated[list[Annotated[str, Field(min_length=1, max_length=200)]], Field(max_length=100)] | None = Field(
        None, description="The models that it may name; null for all."
    )
    expires_in_s: int | None = Field(None, ge=1, le=_LIFE_AT_MOST_S, description="Null: it does not expire.")
    limits: dict[str, int] = Field({}, description="As `PUT /admin/keys/{key_id}/limits` takes them.")
    metadata: Metadata = {}


class KeyDocument(TypedDict):
    """A key, without its secret. ``prefix``: how it begins."""

    id: str
    prefix: str
    owner: str
    name: str
    scopes: list[str]
    models: list[str] | None
    limits: dict[str, int]
    metadata: dict[str, str]
    created_at: str
    expires_at: str | None
    revoked_at: str | None
    last_used_at: str | None
    valid: bool


class CreatedKey(KeyDocument):
    """A new key. ``key`` is shown only here."""

    key: str


class KeyList(TypedDict):
    """Keys, oldest first."""

    keys: list[KeyDocument]


class Listing(Query):
    """Which keys to list."""

    owner: str = Field("", max_length=64, description="Of this owner; empty: of all.")


def key_document(key: Key) -> KeyDocument:
    """The key as the API shows it."""
    return {
        "id": key.id,
        "prefix": f"{PREFIX}{key.id}_",
        "owner": key.owner,
        "name": key.name,
        "scopes": sorted(key.scopes),
        "models": None if key.models is None else sorted(key.models),
        "limits": key.limits.document(),
        "metadata": dict(key.metadata),
        "created_at": rfc3339(key.created_ms / 1000),
        "expires_at": _time(key.expires_ms),
        "revoked_at": _time(key.revoked_ms),
        "last_used_at": _time(key.used_ms),
        "valid": key.is_valid(int(time.time() * 1000)),
    }


def _time(ms: int) -> str | None:
    return rfc3339(ms / 1000) if ms else None


_EXAMPLE = Key(id="abcdefghijkl", owner="alice", digest=b"", name="laptop", created_ms=1795253400123)
_KEY = json_content(KeyDocument, lambda: key_document(_EXAMPLE))


def _store() -> KeyStore:
    return state().authenticator.store


@blueprint.post("/admin/keys")
@scope("admin")
@Contract(
    body=[json_content(NewKey, lambda: {"owner": "alice", "name": "laptop", "expires_in_s": 7_776_000})],
    answers={
        201: Answer(
            "The new key, shown this once.",
            [json_content(CreatedKey, lambda: {**key_document(_EXAMPLE), "key": f"{PREFIX}abcdefghijkl_…"})],
        )
    },
    errors=[409, 413, 415, 422, 503],
)
def create() -> Response:
    """Create a key of an owner. Only a digest of it is stored."""
    asked = checked(NewKey, json_body())
    if not is_owner(asked.owner):
        raise field_problem("owner", "must be 1 to 64 letters, digits, '-', '_' or '.'")
    try:
        scopes = parse_scopes(" ".join(asked.scopes)) if asked.scopes is not None else BY_DEFAULT
    except ValueError as exc:
        raise field_problem("scopes", str(exc)) from exc
    draft = Key(
        id="",
        owner=asked.owner,
        digest=b"",
        name=asked.name,
        scopes=scopes,
        models=None if asked.models is None else frozenset(asked.models),
        limits=_limits(asked.limits, "limits"),
        metadata=asked.metadata,
        expires_ms=int((time.time() + asked.expires_in_s) * 1000) if asked.expires_in_s else 0,
    )
    key, shown = _store().create(draft)
    audit("key.create", key.id, of=key.owner)
    return json_response({**key_document(key), "key": shown}, 201, {"Location": f"/admin/keys/{key.id}"})


@blueprint.get("/admin/keys")
@scope("admin")
@Contract(
    query=Listing,
    answers={200: Answer("The keys.", [json_content(KeyList, lambda: {"keys": [key_document(_EXAMPLE)]})])},
    errors=[422, 503],
)
def listing() -> Response:
    """List the keys, revoked and expired ones included for 30 days."""
    asked = query(Listing)
    with building():
        keys = in_slices(_store().all(asked.owner))
        # Piece by piece: all keys at once would hold up the process for long.
        body = b",".join([orjson.dumps(key_document(key)) for key in keys])
        return Response(b'{"keys":[%b]}' % body, mimetype="application/json", headers={"Cache-Control": "no-store"})


@blueprint.get("/admin/keys/<key_id>")
@scope("admin")
@Contract(answers={200: Answer("The key.", [_KEY])}, errors=[404, 409, 503])
def show(key_id: str) -> Response:
    """One key, without its secret."""
    return json_response(key_document(_store().get(key_id)))


@blueprint.put("/admin/keys/<key_id>/limits")
@scope("admin")
@Contract(
    body=[json_content(dict[str, int], lambda: {"requests_per_minute": 600})],
    answers={200: Answer("The key.", [_KEY])},
    errors=[404, 409, 413, 415, 422, 503],
)
def limit(key_id: str) -> Response:
    """Replace the limits of a key: ``requests_per_minute``, ``streams``, ``tokens_per_day``, ``tokens_per_month``. They
    hold everywhere within 5 s."""
    asked = json_body()
    if not isinstance(asked, dict):
        raise field_problem("body", "must be a JSON object")
    key = _store().limit(key_id, _limits(asked, "body"))
    audit("key.limit", key.id, of=key.owner, limits=key.limits.document())
    return json_response(key_document(key))


@blueprint.post("/admin/keys/<key_id>/revoke")
@scope("admin")
@Contract(answers={200: Answer("The key.", [_KEY])}, errors=[404, 409, 503])
def revoke(key_id: str) -> Response:
    """Revoke a key. Within 5 s it is refused everywhere, and its open streams end."""
    key = _store().revoke(key_id)
    audit("key.revoke", key.id, of=key.owner)
    return json_response(key_document(key))


def _limits(values: Mapping[str, Any], place: str) -> KeyLimits:
    try:
        return KeyLimits.of(dict(values))
    except ValueError as exc:
        raise field_problem(place, str(exc)) from exc
