"""The log lines, metrics and spans of one attempt: one for each thing that happens to its job, and none for a token.

Each line has the job's id and the id of the request that submitted it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from spool.jobs.claims import Claim
from spool.jobs.entries import kind_of
from spool.logs import event
from spool.metrics import JOBS_ENDED, labelled
from worker.attempt_spans import AttemptSpans
from worker.metrics import ATTEMPT_TIME, ATTEMPTS, ATTEMPTS_OVER, FIRST_TOKEN, QUEUE_WAIT, TOKENS


class AttemptEvents:
    """The events of one attempt. ``clock`` is monotonic, in seconds."""

    __slots__ = ("_began", "_claim", "_clock", "_first_s", "_spans")

    def __init__(self, claim: Claim, clock: Callable[[], float] = time.monotonic) -> None:
        self._claim = claim
        self._clock = clock
        self._began = clock()
        self._first_s: float | None = None
        self._spans = AttemptSpans(claim)

    def claimed(self) -> None:
        """The attempt begins. A later one than the first begins as ``restarted`` or ``continued``."""
        job = self._claim.job
        waited_s, how = job.deadline_at - self._claim.left_s - job.created_at, kind_of(self._claim.opening).decode()
        labelled(ATTEMPTS, job.model, how).inc()
        if job.attempt == 1:
            labelled(QUEUE_WAIT, job.model, job.priority).observe(max(0.0, waited_s))
        self._say("job_claimed", how=how, waited_ms=round(waited_s * 1000))
        self._spans.claimed(how, waited_s)

    def calls(self, endpoint: str) -> Mapping[str, str]:
        """The model is called. Returns the headers that its upstream gets."""
        headers = {"X-Request-Id": self._claim.job.origin.request_id, "traceparent": self._spans.calls(endpoint)}
        return {name: value for name, value in headers.items() if value}

    def first_token(self) -> None:
        """The model sent the first piece of its answer."""
        self._first_s = self._clock() - self._began
        labelled(FIRST_TOKEN, self._claim.job.model).observe(self._first_s)
        self._say("job_first_token", ms=round(self._first_s * 1000))
        self._spans.first_token(self._first_s)

    def waits(self, reason: str, left_s: float) -> None:
        """The upstream refuses for now, or the next attempt is delayed."""
        self._say("job_waits", again_ms=round(left_s * 1000), content={"reason": reason})
        self._spans.waits()

    def handed_back(self, reason: str, answer: str, message: str) -> None:
        """The attempt is over, and the job is queued again, or has ended (``answer``)."""
        labelled(ATTEMPTS_OVER, self._claim.job.model, reason).inc()
        self._say("job_handed_back", reason=reason, now=answer, content={"message": message})
        self._spans.end("handed_back", error=reason)

    def over(self, outcome: str) -> None:
        """The attempt is over for another reason than its model: ``cancelled``, or ``lost`` to another worker."""
        labelled(ATTEMPTS_OVER, self._claim.job.model, outcome).inc()
        self._say("attempt_over", outcome=outcome, ms=self._ms)
        if outcome != "lost":
            # The keeper that found the lease lost has ended a lost attempt's span.
            self._spans.end(outcome)

    def ended(self, status: str, fields: Mapping[str, Any], usage: Mapping[str, Any] | None) -> None:
        """The job has ended. ``fields`` are those of its last entry."""
        error, usage, model = fields.get("error") or {}, usage or {}, self._claim.job.model
        labelled(JOBS_ENDED, model, status).inc()
        ran_s = self._clock() - self._began
        labelled(ATTEMPT_TIME, model).observe(ran_s)
        for direction in ("input", "output"):
            labelled(TOKENS, model, direction).inc(usage.get(f"{direction}_tokens") or 0)
        self._say(
            "job_ended",
            status=status,
            code=error.get("code"),
            finish_reason=fields.get("finish_reason"),
            input_tokens=usage.get("input_tokens"),
            output_tokens=usage.get("output_tokens"),
            first_token_ms=None if self._first_s is None else round(self._first_s * 1000),
            ms=round(ran_s * 1000),
            content={"message": error["message"]} if error else None,
        )
        self._spans.end(status, error=error.get("code", ""), finish_reason=fields.get("finish_reason"), usage=usage)

    @property
    def _ms(self) -> int:
        return round((self._clock() - self._began) * 1000)

    def _say(self, name: str, **fields: Any) -> None:
        job = self._claim.job
        event(
            name,
            job=job.id,
            request_id=job.origin.request_id or None,
            model=job.model,
            attempt=job.attempt,
            batch=job.batch,
            **fields,
        )
