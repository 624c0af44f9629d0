"""The draft of a job: what a surface fills in, before ``web.intake.accept`` checks it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from spool.jobs.coalescing import Coalescing
from spool.jobs.job import OnDisconnect, OnWorkerLoss, Priority
from spool.jobs.origin import UNKNOWN, Origin
from spool.jobs.scheduling import UNSCHEDULED, Scheduling
from web.intake.idempotency import NO_KEY, Idempotency
from web.intake.references import NO_TURNS, Turns
from web.intake.webhook import WebhookField


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A job as a surface requests it. Its shape is checked; its model, params and size are not."""

    surface: str
    owner: str
    messages: Sequence[Mapping[str, Any]]
    """The messages of this request, after those of ``earlier``."""
    messages_field: str = "messages"
    """The field of the body that holds them. Problems of size name it."""
    place: str = ""
    """The path's prefix before the body's fields, for a submission of a batch."""
    earlier: Turns = NO_TURNS
    """The conversation that the request continues by reference."""
    sends_all_turns: bool = False
    """The clients of this surface send the earlier turns with every request, so jobs share their blocks."""
    model: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    params_field: str = "params"
    """The field of the body that holds them. Empty if they stand beside its other fields: the demo then ignores the
    names that it does not know."""
    endpoint: str = ""
    """The upstream's endpoint that ``params`` are the whole body for, such as ``embeddings``; empty: a chat."""
    instructions: str | None = None
    """A system prompt for this turn only."""
    request: Mapping[str, Any] | None = None
    """Values that the surface's responses repeat; stored with the input."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    priority: Priority = Priority.INTERACTIVE
    ttl_s: int | None = None
    timeout_s: float | None = None
    on_disconnect: OnDisconnect = OnDisconnect.CONTINUE
    on_worker_loss: OnWorkerLoss | None = None
    streams_text: bool = False
    """Its first reader cannot retract text: by default it then continues or fails after a loss, and never restarts."""
    coalesce: Coalescing | None = None
    scheduling: Scheduling = UNSCHEDULED
    chat: str = ""
    """A digest of the chat of which this becomes the newest job; empty: none."""
    webhook: WebhookField | None = None
    webhook_field: str = "webhook"
    """The field of the body that names it."""
    idempotency: Idempotency = NO_KEY
    origin: Origin = UNKNOWN
    """The request that brings it."""
