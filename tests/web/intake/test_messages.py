"""Messages of a conversation, as a request has them."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from web.intake.messages import MESSAGES_AT_MOST, Messages, as_received


class Body(BaseModel):
    """A request with messages."""

    messages: Messages


def received(*messages: dict[str, Any]) -> list[dict[str, Any]]:
    """What becomes of these messages."""
    return as_received(list(Body.model_validate({"messages": list(messages)}).messages))


def test_messages_are_passed_on_as_they_came() -> None:
    """Unknown fields stay, fields that were left out stay out, and an explicit null stays null."""
    image = {"type": "image_url", "image_url": {"url": "data:x", "detail": "low"}}
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "hello"}, image], "name": "ada"},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "c1"}]},
        {"role": "tool", "tool_call_id": "c1", "content": ""},
    ]
    assert received(*messages) == messages


@pytest.mark.parametrize(
    "message",
    [
        {"role": "user", "content": 5},
        {"role": "nobody", "content": "x"},
        {"content": "x"},
        {"role": "user", "content": [{"text": "no type"}]},
        {"role": "user", "content": [{"type": ""}]},
        {"role": "user", "content": [{"type": "text", "text": "x"}] * 1001},
    ],
    ids=["a number", "another role", "no role", "a part without a type", "an empty type", "too many parts"],
)
def test_message_that_is_wrong(message: dict[str, Any]) -> None:
    """A message of another shape is refused."""
    with pytest.raises(ValidationError):
        received(message)


@pytest.mark.parametrize("count", [0, MESSAGES_AT_MOST + 1])
def test_number_of_messages(count: int) -> None:
    """A conversation has at least one message, and not more than the limit."""
    with pytest.raises(ValidationError):
        received(*[{"role": "user", "content": "x"}] * count)
