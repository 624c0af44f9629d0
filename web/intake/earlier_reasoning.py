"""Reasoning of earlier turns: which of it is kept for the model."""

from __future__ import annotations

from typing import Any

from spool.errors import NoModel, StoreUnavailable, UnknownModel
from web.services import State


def keeps_reasoning(services: State, model: str | None) -> bool:
    """Whether the model wants the reasoning of all earlier turns, and not only of those that call tools. False for an
    unknown model."""
    try:
        return services.models.get(model).keeps_reasoning
    except (NoModel, StoreUnavailable, UnknownModel):
        return False


def add_reasoning(message: dict[str, Any], reasoning: str, *, keeps_all: bool) -> None:
    """Add reasoning to an assistant's message that is complete, if it goes back to the model."""
    if reasoning and (keeps_all or message.get("tool_calls")):
        message["reasoning_content"] = message.get("reasoning_content", "") + reasoning
