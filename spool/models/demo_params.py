"""What a caller may say about the demo's answer: one schema for who validates it and who obeys it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class DemoParams(BaseModel):
    """``params`` of a job for the model ``demo``."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    tokens: int | None = Field(None, ge=0, le=200_000)
    """How many tokens; None: as many as the text has."""
    rate: float = Field(30.0, ge=0, le=100_000)
    """Tokens per second; 0: as fast as it goes."""
    first_token_s: float = Field(0.2, ge=0, le=3600)
    seed: int = Field(0, ge=0, le=2**53)
    fail_after: int | None = Field(None, ge=0, le=200_000)
    """Fail after so many tokens."""
    stamp: bool = False
    """Each token's text is the time at which it was due, in whole microseconds since the epoch, and a space."""
    reasoning: int = Field(0, ge=0, le=10_000)
    """How many pieces of reasoning come before the answer."""
    reasoning_effort: str | None = None
    """OpenAI's way to ask for reasoning: ``low``, ``medium`` or ``high`` give it 2, 4 or 8 pieces."""
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    """At most so many tokens, under either name."""
    tools: list[dict[str, Any]] = Field(default_factory=list, max_length=512, fail_fast=True)
    """Functions in OpenAI's chat shape. It calls those that the prompt names, or any that ``tool_choice`` forces."""
    tool_choice: str | dict[str, Any] | None = None
    response_format: dict[str, Any] | None = None
    """OpenAI's: with a JSON schema the answer is JSON that fits it."""
