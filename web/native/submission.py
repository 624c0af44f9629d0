"""A submission: the body of ``POST /jobs``, a line of a batch, a ``submit`` of a WebSocket."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field, model_validator

from spool.jobs.job import OnDisconnect, OnWorkerLoss, Priority
from spool.jobs.origin import UNKNOWN, Origin
from web.intake.coalescing import CoalesceField, coalescing
from web.intake.draft import Draft
from web.intake.idempotency import NO_KEY, Idempotency
from web.intake.messages import MESSAGES_AT_MOST, Message, Messages, as_received
from web.intake.references import NO_TURNS, References
from web.intake.scheduling import SchedulingFields, scheduling_of
from web.intake.shapes import Metadata, Pieces, checked
from web.intake.webhook import Webhook
from web.problems import field_problem

CONVERSATION = "conversation"
"""The value of ``continue_from`` that names no job."""


def _not_blank(prompt: str) -> str:
    if not prompt.strip():
        raise ValueError("is empty")
    return prompt


class Submission(SchedulingFields):
    """A prompt and how it is to be run."""

    PIECES: ClassVar[Pieces] = {"messages": (Message, MESSAGES_AT_MOST)}

    prompt: Annotated[str, Field(min_length=1), AfterValidator(_not_blank)] | None = None
    messages: Messages | None = None
    model: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    params: dict[str, Any] = Field(default_factory=dict)
    continue_from: Annotated[str, Field(min_length=1, max_length=100)] | None = Field(
        None, description="A job that has ended; or `conversation`, the last one of it when this job begins"
    )
    priority: Priority = Field(Priority.INTERACTIVE, strict=False)
    metadata: Metadata = Field(default_factory=dict)
    ttl_s: Annotated[int, Field(ge=1, le=31_536_000)] | None = None
    timeout_s: Annotated[float, Field(ge=0.1, le=604_800, allow_inf_nan=False)] | None = None
    on_disconnect: OnDisconnect = Field(OnDisconnect.CONTINUE, strict=False)
    on_worker_loss: OnWorkerLoss | None = Field(None, strict=False)
    coalesce: CoalesceField = None
    webhook: Webhook | None = Field(None, description="A receiver that is told how the job ends")
    links: bool = Field(False, description="A 202 then has signed `links`, as `POST /jobs/{job_id}/links` makes them.")

    @model_validator(mode="after")
    def _one_of_both(self) -> Submission:
        if (self.prompt is None) == (self.messages is None):
            raise ValueError("give either prompt or messages")
        return self

    def as_messages(self) -> list[dict[str, Any]]:
        """The messages; a prompt becomes one user message."""
        return [{"role": "user", "content": self.prompt}] if self.messages is None else as_received(self.messages)

    def is_set(self, name: str) -> bool:
        """Whether the client sent this field."""
        return name in self.model_fields_set


class BatchLine(Submission):
    """A submission of a batch."""

    custom_id: Annotated[str, Field(min_length=1, max_length=200)] | None = Field(
        None, description="The client's name of the line; its result has it."
    )


def draft_of(
    data: Any,
    owner: str,
    references: References,
    *,
    surface: str,
    coalesce_ms: int,
    priority: Priority = Priority.INTERACTIVE,
    place: str = "",
    streams_text: bool = False,
    idempotency: Idempotency = NO_KEY,
    origin: Origin = UNKNOWN,
    shape: type[Submission] = Submission,
) -> Draft:
    """The draft of a job from a submission as JSON data, of this ``shape``. ``coalesce_ms`` and ``priority`` are the
    surface's defaults. Raises a 422 ``Problem`` with the paths of the first wrong fields, and the errors of
    ``references``."""
    submission = checked(shape, data, place.rstrip("."))
    if submission.links and surface != "jobs":
        raise field_problem(f"{place}links", "is for POST /jobs alone; links can be made later")
    earlier = NO_TURNS
    continues = submission.continue_from == CONVERSATION
    if continues and submission.conversation is None:
        raise field_problem(f"{place}continue_from", "is conversation, but the submission names none")
    if submission.continue_from and not continues:
        earlier = references.turns(submission.continue_from, f"{place}continue_from")
    return Draft(
        surface=surface,
        owner=owner,
        messages=submission.as_messages(),
        messages_field="prompt" if submission.messages is None else "messages",
        place=place,
        earlier=earlier,
        model=submission.model,
        params=submission.params,
        metadata=submission.metadata,
        priority=submission.priority if submission.is_set("priority") else priority,
        ttl_s=submission.ttl_s,
        timeout_s=submission.timeout_s,
        on_disconnect=submission.on_disconnect,
        on_worker_loss=submission.on_worker_loss,
        streams_text=streams_text,
        scheduling=scheduling_of(submission, place, continue_at_most=references.most if continues else None),
        coalesce=coalescing(submission.coalesce, is_set=submission.is_set("coalesce"), default_ms=coalesce_ms),
        idempotency=idempotency,
        origin=origin,
        webhook=submission.webhook,
    )
