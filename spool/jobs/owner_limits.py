"""Limits of what is queued, run and kept at a time by one owner; and how many bytes an answer may become."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from spool.jobs.coalescing import Coalescing

_TOKEN_LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens", "tokens")
_TOKENS_AT_MOST = 1_000_000
_ENTRY_BYTES = 120
"""What a token takes in Redis as an entry of its own, and in the stored text."""
_COALESCED_BYTES = 15
"""The same where pieces of text are put together."""


@dataclass(frozen=True, slots=True)
class OwnerLimits:
    """Limits of one owner; 0: none of its own. ``share`` is the part of Redis's memory that an owner may fill where
    ``bytes`` says nothing, and of all workers' slots that its jobs may run in where ``running`` says nothing.
    ``watermark`` is the part of ``maxmemory`` up to which jobs are accepted, with all that they will write; 0: memory
    is not looked at."""

    queued: int = 0
    running: int = 0
    streams: int = 0
    bytes: int = 0
    share: float = 0.0
    watermark: float = 0.0


NO_LIMITS = OwnerLimits()


def output_at_most(params: Mapping[str, Any], coalesce: Coalescing | None) -> int:
    """How many bytes an answer to these params takes in Redis at most, as far as they bound its tokens; 0: they do
    not."""
    bounds = [value for name in _TOKEN_LIMITS if type(value := params.get(name)) is int and value >= 0]
    if not bounds:
        return 0
    tokens = max(1, min(_TOKENS_AT_MOST, *bounds))
    return tokens * (_COALESCED_BYTES if coalesce else _ENTRY_BYTES)
