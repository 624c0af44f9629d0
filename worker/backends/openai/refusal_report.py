"""Reports an upstream's refusals to the gate that all workers share, and decides what becomes of the refused job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spool.deadline import Deadline
from worker.backends import BackendError, SharedGate, UpstreamClosed
from worker.backends.openai.errors import Refused
from worker.backends.openai.rate_headers import exhausted


def report_refusal(
    gate: SharedGate,
    refused: Refused,
    status: int,
    deadline: Deadline,
    answered_s: float | None,
    *,
    has_failed: bool = False,
) -> None:
    """Report the refusal. Raises ``UpstreamClosed``, so that the job waits in the queue; another ``BackendError`` if it
    has no more tries or would be tried after its deadline. Returns if the report failed: then the job waits here."""
    closed = gate.refused(
        refused.reason,
        status=status,
        retry_after_s=refused.retry_after_s,
        answered_s=answered_s,
        has_failed=has_failed,
    )
    if closed is None:
        return
    if closed.is_own and refused.may_be_own and closed.refusals >= refused.tries:
        raise tries_used(closed.refusals, refused)
    if deadline.left_s <= closed.wait_s:
        raise too_late(refused.reason, refused.upstream)
    raise UpstreamClosed(refused.reason, closed.retry_at, closed.again_ms)


def note_headers(gate: SharedGate | None, headers: Mapping[str, str]) -> None:
    """Report an upstream that answers, and says that it has no capacity left for others."""
    found = None if gate is None else exhausted(headers)
    if gate is not None and found is not None:
        what, reset_s = found
        gate.exhausted(f"the upstream has no {what} left", reset_s=reset_s)


def tries_used(tries: int, refused: Refused) -> BackendError:
    """The error of a job that has used its tries while others were answered."""
    message = f"the upstream failed {tries} times on this prompt: {refused.reason}"
    return BackendError("upstream_failed", message, retryable=True, upstream=refused.upstream)


def too_late(reason: str, upstream: Mapping[str, Any] | None = None) -> BackendError:
    """The error of a job whose next try would come after its deadline."""
    message = f"no answer before the job's deadline: {reason}"
    return BackendError("upstream_unavailable", message, retryable=True, upstream=upstream)
