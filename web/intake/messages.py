"""The messages of a conversation, in OpenAI's shape, which all surfaces but ``/ai`` take."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from web.intake.shapes import Some
from web.time_slices import in_slices

MESSAGES_AT_MOST = 10_000
_PARTS_AT_MOST = 1000


class ContentPart(BaseModel):
    """One part of a message, in OpenAI's shape. The fields of its type go to the model unchanged."""

    model_config = ConfigDict(extra="allow", strict=True, defer_build=True)

    type: Annotated[str, Field(min_length=1, max_length=64)]


class Message(BaseModel):
    """One message of a conversation, in OpenAI's shape."""

    model_config = ConfigDict(extra="allow", strict=True, defer_build=True)

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | Annotated[Some[ContentPart], Field(max_length=_PARTS_AT_MOST)] | None = None


Messages = Annotated[Some[Message], Field(min_length=1, max_length=MESSAGES_AT_MOST)]
"""The messages of a request."""


def as_received(messages: list[Message]) -> list[dict[str, Any]]:
    """The messages without the fields that the client left out."""
    return [message.model_dump(exclude_unset=True) for message in in_slices(messages)]
