"""The parameters of the demo model: one schema, used for validation and by the demo backend."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class DemoParams(BaseModel):
    """The ``params`` of a job for the model ``demo``."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    tokens: int | None = Field(None, ge=0, le=200_000)
    """Number of tokens; None: as many as the text has."""
    rate: float = Field(30.0, ge=0, le=100_000)
    """Tokens per second; 0: as fast as possible."""
    first_token_s: float = Field(0.2, ge=0, le=3600)
    seed: int = Field(0, ge=0, le=2**53)
    fail_after: int | None = Field(None, ge=0, le=200_000)
    """Fail after this number of tokens; None: never."""
    stamp: bool = False
    """Each token's text is its due time, in whole microseconds since the epoch, and a space."""
    reasoning: int = Field(0, ge=0, le=10_000)
    """Number of pieces of reasoning before the answer."""
    reasoning_effort: str | None = None
    """OpenAI's parameter for reasoning: ``low``, ``medium`` or ``high`` mean 2, 4 or 8 pieces."""
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    """The maximum number of tokens, under either name."""
    tools: list[dict[str, Any]] = Field(default_factory=list, max_length=512, fail_fast=True)
    """Functions in OpenAI's chat shape. The demo calls those that ``tool_choice`` forces, else those named in the
    prompt, else the one of whose name the prompt says the most parts (``weather`` of ``get_weather``)."""
    tool_choice: str | dict[str, Any] | None = None
    response_format: dict[str, Any] | None = None
    """OpenAI's parameter: with a JSON schema, the answer is JSON that matches it."""
