"""When a job may begin, and with which jobs it takes turns: the fields of a submit that order the queue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

KEY_CHARACTERS = 64
WEIGHT_AT_LEAST = 0.1
WEIGHT_AT_MOST = 10.0
NEAR_S = 10.0
"""A job with a shorter ``start_within_s`` goes first in its flow at once; others from its second half on."""
NOT_BEFORE_AT_MOST_S = 7 * 86_400
"""How far ahead ``not_before`` may be, in seconds."""
CONVERSATION_CHARACTERS = 200
FIELDS = (
    "fairness_key",
    "fairness_weight",
    "start_within_s",
    "not_before_ms",
    "conversation",
    "on_busy",
    "continue_at_most",
)
"""The record's fields. A field that was not submitted is missing."""
_MS_DIGITS = 14


class OnBusy(StrEnum):
    """What a submit does while another job of its conversation has not ended."""

    ENQUEUE = "enqueue"
    """The job waits until the earlier ones have ended."""
    REJECT = "reject"
    """The submit is refused."""
    INTERRUPT = "interrupt"
    """The earlier jobs are cancelled, and the job begins once they have ended."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """The conversation of a job: at most one job of an owner's conversation runs at a time.

    With ``continue_at_most`` the job begins with the earlier turns in its messages, at most so many bytes in all."""

    id: str
    on_busy: OnBusy = OnBusy.ENQUEUE
    continue_at_most: int | None = None


@dataclass(frozen=True, slots=True)
class Scheduling:
    """The scheduling of one job. ``fairness_key`` names the flow among its owner's jobs, and ``fairness_weight`` the
    share of that flow. The job fails if it has not begun within ``start_within_s`` seconds, and does not begin before
    ``not_before`` (seconds since the epoch)."""

    fairness_key: str = ""
    fairness_weight: float | None = None
    start_within_s: float | None = None
    not_before: float | None = None
    conversation: Conversation | None = None

    def encode(self) -> dict[str, Any]:
        """The record's fields."""
        fields: dict[str, Any] = {
            "fairness_key": self.fairness_key or None,
            "fairness_weight": self.fairness_weight,
            "start_within_s": self.start_within_s,
            "not_before_ms": None if self.not_before is None else round(self.not_before * 1000),
            "conversation": self.conversation and self.conversation.id,
            "on_busy": self.conversation and self.conversation.on_busy.value,
            "continue_at_most": self.conversation and self.conversation.continue_at_most,
        }
        return {name: value for name, value in fields.items() if value is not None}

    @classmethod
    def decode(cls, record: Mapping[str, str]) -> Self:
        """The inverse of ``encode``. Raises ``ValueError`` for an invalid value."""
        not_before, conversation, at_most = (
            record.get(name) for name in ("not_before_ms", "conversation", "continue_at_most")
        )
        if not_before and len(not_before) > _MS_DIGITS:
            raise ValueError("not_before_ms is out of range")
        return cls(
            record.get("fairness_key", ""),
            _number(record.get("fairness_weight")),
            _number(record.get("start_within_s")),
            int(not_before) / 1000 if not_before else None,
            Conversation(conversation, OnBusy(record.get("on_busy", OnBusy.ENQUEUE)), int(at_most) if at_most else None)
            if conversation
            else None,
        )


UNSCHEDULED = Scheduling()
"""A job that takes its turn as it comes."""


def _number(text: str | None) -> float | None:
    return float(text) if text else None
