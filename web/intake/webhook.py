"""The field ``webhook`` of a submission: its shape, and what is stored of it."""

from __future__ import annotations

from typing import Annotated, Any

import orjson
from flask import request
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from spool.webhooks.addresses import AllowedAddresses
from spool.webhooks.events import EVENTS
from spool.webhooks.target import URL_AT_MOST, Target
from web.contract import Parameter
from web.intake.shapes import checked, without_most_unknown
from web.problems import field_problem


def _receiver(url: str) -> str:
    Target.parse(url)
    return url


def _known(events: list[str] | None) -> list[str] | None:
    unknown = [name for name in events or () if name not in EVENTS]
    if unknown:
        raise ValueError(f"has no event {unknown[0][:40]!r}; there are {', '.join(EVENTS)}")
    return events


ReceiverUrl = Annotated[str, Field(min_length=1, max_length=URL_AT_MOST), AfterValidator(_receiver)]
"""The URL of a receiver."""
EventNames = Annotated[
    list[Annotated[str, Field(max_length=40)]],
    Field(min_length=1, max_length=len(EVENTS), description=f"Some of {', '.join(f'`{name}`' for name in EVENTS)}"),
    AfterValidator(_known),
]
"""Types of events."""


class WebhookField(BaseModel):
    """A receiver that is told how the job ends."""

    model_config = ConfigDict(extra="forbid", strict=True, defer_build=True)

    url: ReceiverUrl
    events: EventNames | None = Field(None, description="The events that it wants; null for all")


def _few_unknown(value: Any) -> Any:
    return without_most_unknown(WebhookField, value) if isinstance(value, dict) else value


Webhook = Annotated[WebhookField, BeforeValidator(_few_unknown)]
WEBHOOK_HEADER = Parameter(
    "X-Spool-Webhook",
    str,
    "The URL of a receiver that is told how the batch ends. A header, because logs of proxies show queries.",
)
EVENTS_HEADER = Parameter(
    "X-Spool-Webhook-Events",
    str,
    "The events that it wants, divided by commas; by default all: `batch.failed,batch.expired`",
)


def webhook_of_headers() -> WebhookField | None:
    """The webhook that the request's headers name. Raises a 422 ``Problem``."""
    url, events = (request.headers.get(header.name, "").strip() for header in (WEBHOOK_HEADER, EVENTS_HEADER))
    if not url:
        return None
    names = [name.strip() for name in events.split(",")] if events else None
    return checked(WebhookField, {"url": url, "events": names}, WEBHOOK_HEADER.name)


def stored_webhook(webhook: WebhookField, owner: str, allowed: AllowedAddresses, place: str) -> str:
    """The webhook as a job's record has it. Raises a 422 ``Problem`` that names ``place``."""
    target = Target.parse(webhook.url)
    refuse_unencrypted(target, allowed, f"{place}.url")
    events = " ".join(dict.fromkeys(webhook.events or ()))
    return orjson.dumps({"url": webhook.url, "events": events, "lane": target.lane_of(owner)}).decode()


def refuse_unencrypted(target: Target, allowed: AllowedAddresses, place: str) -> None:
    """Raise a 422 ``Problem`` for a URL without TLS, which is sent to networks of the operator's alone."""
    if not target.is_encrypted and not allowed.networks:
        detail = "must begin with https://; http:// is for addresses that SPOOL_WEBHOOK_ALLOW names"
        raise field_problem(place, detail)
