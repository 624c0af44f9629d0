"""What a caller may say about the demo's answer: one schema for who validates it and who obeys it."""

from __future__ import annotations

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
