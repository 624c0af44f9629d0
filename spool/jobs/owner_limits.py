"""Limits on one owner's queued, running and stored jobs, and the maximum size of an answer in bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from spool.jobs.coalescing import Coalescing
from spool.owners.limits import NO_BUDGET, Budget

_TOKEN_LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens", "tokens")
_TOKENS_AT_MOST = 1_000_000
_ENTRY_BYTES = 120
"""Bytes that a token occupies in Redis, as an entry of its own and in the stored text."""
_COALESCED_BYTES = 15
"""The same with coalescing."""


@dataclass(frozen=True, slots=True)
class OwnerLimits:
    """Limits of one owner; 0: no limit of its own.

    ``share`` is a fraction: of Redis's memory if ``bytes`` is 0, and of all workers' slots if ``running`` is 0.
    ``watermark`` is the fraction of ``maxmemory`` up to which jobs are accepted, including their expected output; 0:
    memory is not checked. ``credential_budget`` is that of the key with which a job is submitted.
    """

    queued: int = 0
    running: int = 0
    streams: int = 0
    bytes: int = 0
    share: float = 0.0
    watermark: float = 0.0
    budget: Budget = NO_BUDGET
    credential_budget: Budget = NO_BUDGET

    def part(self, shards: int) -> OwnerLimits:
        """One shard's part of the limits, rounded up. The watermark is the server's, and is not divided."""
        if shards == 1:
            return self
        queued, running, size = (-(-limit // shards) for limit in (self.queued, self.running, self.bytes))
        return replace(
            self,
            queued=queued,
            running=running,
            bytes=size,
            share=self.share / shards,
            budget=self.budget.part(shards),
            credential_budget=self.credential_budget.part(shards),
        )

    @property
    def budgets(self) -> str:
        """The budgets as ``submit.lua`` gets them: '' without any."""
        each = (self.budget, self.credential_budget)
        tokens = [value for budget in each for value in (budget.tokens_per_day, budget.tokens_per_month)]
        return " ".join(map(str, tokens)) if any(tokens) else ""


NO_LIMITS = OwnerLimits()


def output_at_most(params: Mapping[str, Any], coalesce: Coalescing | None) -> int:
    """The maximum size in Redis of an answer to these params, in bytes; 0 if the params do not bound its tokens."""
    return tokens_at_most(params) * (_COALESCED_BYTES if coalesce else _ENTRY_BYTES)


def tokens_at_most(params: Mapping[str, Any]) -> int:
    """The maximum number of tokens of an answer to these params; 0 if they do not bound it."""
    bounds = [value for name in _TOKEN_LIMITS if type(value := params.get(name)) is int and value >= 0]
    return max(1, min(_TOKENS_AT_MOST, *bounds)) if bounds else 0
