"""``/webhooks``: receivers of an owner's events, and deliveries to them. A secret is shown once, when it is made."""

from __future__ import annotations

from typing import Annotated

from flask import Blueprint, Response
from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from spool.jobs.entries import rfc3339
from spool.webhooks.delivery import Delivery, DeliveryState
from spool.webhooks.endpoint import Endpoint
from spool.webhooks.events import EVENTS
from spool.webhooks.signature import PREFIX
from spool.webhooks.target import Target
from web import auth
from web.access.audit import audit
from web.arguments import DIGITS, Query, query
from web.auth import scope
from web.contract import LOCATION, Answer, Contract, json_content
from web.examples import JOB
from web.intake.body import json_body
from web.intake.shapes import checked
from web.intake.webhook import EventNames, ReceiverUrl, refuse_unencrypted
from web.json_response import json_response
from web.services import state

blueprint = Blueprint("webhooks", __name__)


class NewWebhook(BaseModel):
    """A webhook to create."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    url: ReceiverUrl
    events: EventNames | None = Field(None, description="The events that it wants; null for all")


class WebhookDocument(TypedDict):
    """A webhook, without its secrets. ``disabled_reason``: why it gets nothing more, if it is disabled."""

    id: str
    url: str
    events: list[str]
    created_at: str
    disabled_at: str | None
    disabled_reason: str | None


class CreatedWebhook(WebhookDocument):
    """A webhook with its new secret, which is shown only here."""

    secret: str


class WebhookList(TypedDict):
    """Webhooks, oldest first. ``dropped``: events that were not kept, because too many deliveries were outstanding."""

    webhooks: list[WebhookDocument]
    dropped: int


class NewSecret(TypedDict):
    """A new secret, which is shown only here."""

    secret: str


class DeliveryDocument(TypedDict):
    """A delivery of an event. ``id`` is its ``webhook-id``, ``subject`` the job or batch. ``webhook`` is null if the
    submit named the URL, and ``last_status`` if no answer came."""

    id: str
    webhook: str | None
    url: str | None
    type: str
    subject: str
    state: str
    attempts: int
    last_status: int | None
    last_error: str | None
    created_at: str
    ended_at: str | None


class DeliveryList(TypedDict):
    """Deliveries, newest first. ``cursor`` leads to the next page; null on the last."""

    deliveries: list[DeliveryDocument]
    cursor: str | None


class Listing(Query):
    """Which deliveries to list."""

    webhook: str = Field("", max_length=40, description="Of this webhook alone.")
    state: DeliveryState | None = Field(None, description="In this state alone.")
    limit: Annotated[int, Field(ge=1, le=100), DIGITS] = Field(20, description="The most deliveries.")
    cursor: Annotated[str, Field(pattern="^[0-9]{1,18}$")] | None = Field(
        None, description="The `cursor` of the page before."
    )


def _document(endpoint: Endpoint) -> WebhookDocument:
    return {
        "id": endpoint.id,
        "url": endpoint.url,
        "events": list(endpoint.events or EVENTS),
        "created_at": rfc3339(endpoint.created_ms / 1000),
        "disabled_at": rfc3339(endpoint.disabled_ms / 1000) if endpoint.disabled_ms else None,
        "disabled_reason": endpoint.disabled_reason or None,
    }


def _with_secret(endpoint: Endpoint) -> CreatedWebhook:
    return {**_document(endpoint), "secret": endpoint.secrets[0].text}


def _delivery(delivery: Delivery) -> DeliveryDocument:
    return {
        "id": delivery.id,
        "webhook": delivery.endpoint or None,
        "url": delivery.url or None,
        "type": delivery.type,
        "subject": delivery.subject,
        "state": delivery.state,
        "attempts": delivery.attempts,
        "last_status": delivery.last_status or None,
        "last_error": delivery.last_error or None,
        "created_at": rfc3339(delivery.at_us / 1_000_000),
        "ended_at": rfc3339(delivery.ended_ms / 1000) if delivery.ended_ms else None,
    }


_EXAMPLE = Endpoint("we_0123456789abcdef", "alice", "https://app.example/hook", ("job.succeeded",), 1795253400123, ())
_DELIVERY_EXAMPLE = Delivery(
    id=f"msg_{JOB.id}_{_EXAMPLE.id}",
    owner="alice",
    endpoint=_EXAMPLE.id,
    url="",
    type="job.succeeded",
    subject=JOB.id,
    state=DeliveryState.PENDING,
    at_us=1795253400123456,
    attempts=1,
    last_status=503,
    last_error="the receiver answered 503",
    ended_ms=0,
    record={},
)
_WEBHOOK = json_content(WebhookDocument, lambda: _document(_EXAMPLE))
_CREATED = json_content(CreatedWebhook, lambda: {**_document(_EXAMPLE), "secret": f"{PREFIX}…"})
_DELIVERY = json_content(DeliveryDocument, lambda: _delivery(_DELIVERY_EXAMPLE))


@blueprint.post("/webhooks")
@scope("jobs:write")
@Contract(
    body=[json_content(NewWebhook, lambda: {"url": "https://app.example/hook", "events": ["job.succeeded"]})],
    answers={201: Answer("The new webhook, with its secret.", [_CREATED], [LOCATION])},
    errors=[409, 413, 415, 422, 503],
)
def create() -> Response:
    """Create a webhook, which gets the events of all jobs and batches of the caller's owner from now on. Jobs of a
    batch have no events of their own."""
    asked = checked(NewWebhook, json_body())
    refuse_unencrypted(Target.parse(asked.url), state().settings.webhook_addresses(), "url")
    state().refuse_when_full()
    endpoint = state().endpoints.create(auth.owner(), asked.url, list(dict.fromkeys(asked.events or ())))
    audit("webhook.create", endpoint.id)
    return json_response(_with_secret(endpoint), 201, {"Location": f"/webhooks/{endpoint.id}"})


@blueprint.get("/webhooks")
@scope("jobs:read")
@Contract(
    answers={
        200: Answer(
            "The webhooks.",
            [json_content(WebhookList, lambda: {"webhooks": [_document(_EXAMPLE)], "dropped": 0})],
        )
    },
    errors=[503],
)
def listing() -> Response:
    """List the webhooks of the caller's owner."""
    endpoints, owner = state().endpoints, auth.owner()
    found = [_document(endpoint) for endpoint in endpoints.all(owner)]
    return json_response({"webhooks": found, "dropped": endpoints.dropped(owner)})


@blueprint.get("/webhooks/<webhook_id>")
@scope("jobs:read")
@Contract(answers={200: Answer("The webhook.", [_WEBHOOK])}, errors=[404, 409, 503])
def show(webhook_id: str) -> Response:
    """One webhook."""
    return json_response(_document(state().endpoints.get(webhook_id, auth.owner())))


@blueprint.delete("/webhooks/<webhook_id>")
@scope("jobs:write")
@Contract(answers={204: Answer("The webhook is deleted.")}, errors=[404, 503])
def delete(webhook_id: str) -> Response:
    """Delete a webhook. Its outstanding deliveries are given up."""
    state().endpoints.delete(webhook_id, auth.owner())
    audit("webhook.delete", webhook_id)
    return Response(status=204)


@blueprint.post("/webhooks/<webhook_id>/secret")
@scope("jobs:write")
@Contract(answers={200: Answer("The webhook, with its new secret.", [_CREATED])}, errors=[404, 409, 503])
def rotate(webhook_id: str) -> Response:
    """Give a webhook a new secret. For a day, deliveries are signed with the one before, too."""
    endpoint = state().endpoints.rotate(webhook_id, auth.owner())
    audit("webhook.rotate", endpoint.id)
    return json_response(_with_secret(endpoint))


@blueprint.post("/webhooks/<webhook_id>/enable")
@scope("jobs:write")
@Contract(answers={200: Answer("The webhook.", [_WEBHOOK])}, errors=[404, 409, 503])
def enable(webhook_id: str) -> Response:
    """Enable a webhook that was disabled. Deliveries that were given up can be replayed."""
    endpoint = state().endpoints.enable(webhook_id, auth.owner())
    audit("webhook.enable", endpoint.id)
    return json_response(_document(endpoint))


@blueprint.post("/webhooks/secret")
@scope("jobs:write")
@Contract(
    answers={200: Answer("The new secret.", [json_content(NewSecret, lambda: {"secret": f"{PREFIX}…"})])},
    errors=[503],
)
def rotate_own() -> Response:
    """Make a new secret for deliveries to a ``webhook`` that a submit names. For a day, they are signed with the one
    before, too."""
    secrets = state().endpoints.rotate_secrets(auth.owner())
    audit("webhook.rotate", "secret of submits")
    return json_response({"secret": secrets[0].text})


@blueprint.get("/webhooks/deliveries")
@scope("jobs:read")
@Contract(
    query=Listing,
    answers={
        200: Answer(
            "A page of deliveries.",
            [json_content(DeliveryList, lambda: {"deliveries": [_delivery(_DELIVERY_EXAMPLE)], "cursor": None})],
        )
    },
    errors=[422, 503],
)
def deliveries() -> Response:
    """List the deliveries of the caller's owner: outstanding ones, and the last thousand of the last week. A page may
    be short although a ``cursor`` leads on."""
    asked = query(Listing)
    page = state().deliveries.newest(
        auth.owner(), limit=asked.limit, cursor=asked.cursor, endpoint=asked.webhook, state=asked.state
    )
    return json_response({"deliveries": [_delivery(each) for each in page.deliveries], "cursor": page.cursor})


@blueprint.post("/webhooks/deliveries/<delivery_id>/replay")
@scope("jobs:write")
@Contract(
    answers={202: Answer("The delivery, which is tried again.", [_DELIVERY])},
    errors=[404, 409, 429, 503],
)
def replay(delivery_id: str) -> Response:
    """Send a delivery again at once, under the same ``webhook-id``, whatever its state."""
    delivery = state().deliveries.replay(delivery_id, auth.owner())
    audit("webhook.replay", delivery.id)
    return json_response(_delivery(delivery), 202)
