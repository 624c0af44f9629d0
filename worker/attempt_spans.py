"""The spans of one attempt: the wait in the queue before it, the attempt, and the call of its model.

The attributes of the call are OpenTelemetry's semantic conventions for generative AI.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spool.jobs.claims import Claim
from spool.models.model import DEMO
from spool.tracing import Span, Value, tracing

_OPERATIONS = {"embeddings": "embeddings", "completions": "text_completion", "images/generations": "generate_content"}
"""The operation of each endpoint; that of all others is ``chat``."""


class AttemptSpans:
    """The spans of one attempt."""

    __slots__ = ("_attempt", "_call", "_claim")

    def __init__(self, claim: Claim) -> None:
        self._claim = claim
        self._attempt = Span(claim.job.origin.traceparent)
        self._call = Span()

    def claimed(self, how: str, waited_s: float) -> None:
        """The attempt begins, ``waited_s`` after the submit."""
        if not tracing.is_on:
            return
        job, parent = self._claim.job, self._claim.job.origin.traceparent
        about: dict[str, Value | None] = {
            "spool.job.id": job.id,
            "spool.model": job.model,
            "spool.attempt": job.attempt,
        }
        if job.attempt == 1:
            # Both times are those of Redis.
            from_s = max(job.created_at, job.scheduling.not_before or 0.0)
            waiting = tracing.begin("queue", parent, at_s=from_s, attributes=about)
            waiting.end(at_s=max(from_s, job.created_at + waited_s))
        about |= {"spool.attempt.how": how, "spool.request.id": job.origin.request_id or None}
        self._attempt = tracing.begin("attempt", parent, kind="CONSUMER", attributes=about)

    def calls(self, endpoint: str) -> str:
        """The model is called. Returns the ``traceparent`` of the call."""
        if tracing.is_on:
            model = self._claim.job.model
            operation = _OPERATIONS.get(endpoint, "chat")
            about: dict[str, Value | None] = {
                "gen_ai.operation.name": operation,
                "gen_ai.provider.name": "spool.demo" if model == DEMO.name else "openai",
                "gen_ai.request.model": model,
            }
            self._call = tracing.begin(
                f"{operation} {model}", self._attempt.traceparent, kind="CLIENT", attributes=about
            )
        return self._call.traceparent or self._attempt.traceparent

    def first_token(self, after_s: float) -> None:
        """The model sent the first piece of its answer, ``after_s`` after the claim."""
        self._call.event("first_token")
        self._attempt.set({"spool.first_token_ms": round(after_s * 1000)})

    def waits(self) -> None:
        """The upstream refuses for now, or the next attempt is delayed."""
        self._attempt.event("waits")

    def end(
        self,
        outcome: str,
        *,
        error: str = "",
        finish_reason: str | None = None,
        usage: Mapping[str, Any] | None = None,
    ) -> None:
        """The attempt is over. ``error`` is the code of a failure or the reason of a hand-back."""
        usage = usage or {}
        self._call.set(
            {
                "gen_ai.response.finish_reasons": [finish_reason] if finish_reason else None,
                "gen_ai.usage.input_tokens": usage.get("input_tokens"),
                "gen_ai.usage.output_tokens": usage.get("output_tokens"),
            }
        )
        self._call.end(error)
        self._attempt.set({"spool.outcome": outcome})
        self._attempt.end(error)
