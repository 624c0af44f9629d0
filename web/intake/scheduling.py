"""The fields of a submission that order the queue: their shapes, and their translation."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from spool.jobs.scheduling import (
    CONVERSATION_CHARACTERS,
    KEY_CHARACTERS,
    NOT_BEFORE_AT_MOST_S,
    UNSCHEDULED,
    WEIGHT_AT_LEAST,
    WEIGHT_AT_MOST,
    Conversation,
    OnBusy,
    Scheduling,
)
from web.intake.shapes import without_most_unknown
from web.problems import field_problem
from web.times import Time

_PRINTABLE = r"^[^\x00-\x1f\x7f]+$"
_ONE_LINE = Field(pattern=_PRINTABLE)


class ConversationField(BaseModel):
    """The conversation that the job belongs to: at most one job of an owner's conversation runs at a time."""

    model_config = ConfigDict(extra="forbid", strict=True, defer_build=True)

    id: Annotated[str, Field(min_length=1, max_length=CONVERSATION_CHARACTERS), _ONE_LINE]
    on_busy: OnBusy = Field(
        OnBusy.ENQUEUE,
        strict=False,
        description="While an earlier job of the conversation has not ended: wait for it, answer 409, or cancel it "
        "and begin after it",
    )


def _few_unknown(value: Any) -> Any:
    return without_most_unknown(ConversationField, value) if isinstance(value, dict) else value


class SchedulingFields(BaseModel):
    """When the job may begin, and with which jobs it takes turns."""

    model_config = ConfigDict(extra="forbid", strict=True, defer_build=True)

    fairness_key: Annotated[str, Field(min_length=1, max_length=KEY_CHARACTERS), _ONE_LINE] | None = Field(
        None, description="Its jobs take turns with the owner's other jobs, in proportion to their weights"
    )
    fairness_weight: Annotated[float, Field(ge=WEIGHT_AT_LEAST, le=WEIGHT_AT_MOST)] | None = Field(
        None, description="The share of this fairness_key, beside 1 for the others; at most the owner's own weight"
    )
    start_within_s: Annotated[float, Field(ge=0.1, le=604_800)] | None = Field(
        None, description="Seconds after which the job fails if it has not begun, from not_before if that is set"
    )
    not_before: Time | None = Field(None, description="When the job may begin at the earliest, at most 7 days ahead")
    conversation: Annotated[ConversationField, BeforeValidator(_few_unknown)] | None = None


def scheduling_of(
    fields: SchedulingFields,
    place: str = "",
    *,
    continue_at_most: int | None = None,
    clock: Callable[[], float] = time.time,
) -> Scheduling:
    """The scheduling that a submission asks for. ``place`` is the path's prefix before the fields;
    ``continue_at_most`` is set if the job continues its conversation. Raises a 422
    ``Problem`` for fields that do not go together, and a ``not_before`` that is too far ahead."""
    if not SchedulingFields.model_fields.keys() & fields.model_fields_set:
        return UNSCHEDULED
    conversation = fields.conversation
    ahead_s = fields.not_before.timestamp() - clock() if fields.not_before else 0.0
    if ahead_s > NOT_BEFORE_AT_MOST_S:
        raise field_problem(f"{place}not_before", "is more than 7 days ahead")
    if ahead_s > 0 and conversation and conversation.on_busy is not OnBusy.ENQUEUE:
        detail = f"must be enqueue with not_before, not {conversation.on_busy.value}"
        raise field_problem(f"{place}conversation.on_busy", detail)
    return Scheduling(
        fairness_key=fields.fairness_key or "",
        fairness_weight=fields.fairness_weight,
        start_within_s=fields.start_within_s,
        # A time that has passed is no condition.
        not_before=round(fields.not_before.timestamp(), 3) if fields.not_before and ahead_s > 0 else None,
        conversation=Conversation(conversation.id, conversation.on_busy, continue_at_most) if conversation else None,
    )
