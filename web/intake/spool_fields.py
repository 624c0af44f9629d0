"""Spool's own fields in a request of another protocol: the object ``spool``, which is never forwarded."""

from __future__ import annotations

from flask import request
from pydantic import Field

from spool.jobs.job import OnDisconnect
from web.contract import Parameter
from web.intake.scheduling import SchedulingFields
from web.intake.webhook import Webhook, WebhookField
from web.problems import field_problem

ON_DISCONNECT = Parameter(
    "X-Spool-On-Disconnect",
    OnDisconnect,
    "`cancel`: the job is cancelled once its last reader has left; `continue`: it is not. `spool.on_disconnect` in the "
    "body says the same and comes first; the default is `SPOOL_ON_DISCONNECT`.",
)


class SpoolFields(SchedulingFields):
    """As in ``POST /jobs``."""

    on_disconnect: OnDisconnect | None = Field(
        None, strict=False, description="What happens to the job when its last reader disconnects"
    )
    webhook: Webhook | None = Field(None, description="A receiver that is told how the job ends")


WEBHOOK = "spool.webhook"
"""The field that names a webhook."""


def webhook_of(fields: SpoolFields | None) -> WebhookField | None:
    """The webhook that the request names."""
    return fields.webhook if fields else None


def on_disconnect_of(fields: SpoolFields | None, default: OnDisconnect, *, background: bool = False) -> OnDisconnect:
    """What the request asks for, in its body or else its header. A background job has no reader to wait for. Raises a
    422 ``Problem`` for another value of the header."""
    header = request.headers.get(ON_DISCONNECT.name)
    try:
        named = OnDisconnect(header) if header else None
    except ValueError as exc:
        raise field_problem(ON_DISCONNECT.name, "must be continue or cancel") from exc
    if background:
        return OnDisconnect.CONTINUE
    return (fields and fields.on_disconnect) or named or default
