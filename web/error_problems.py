"""The problem of each of Spool's errors."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from spool import errors
from web.problems import Problem, field_problem, model_problem, retry_after

log = logging.getLogger("spool.web")


@dataclass(frozen=True, slots=True)
class Rule:
    """The problem of one class of errors. ``detail`` replaces the error's own text; ``names`` is the member that names
    its job or batch; ``is_logged``: an operator has to act."""

    status: int
    title: str
    detail: str = ""
    names: str = ""
    is_logged: bool = False

    def __call__(self, exc: Any) -> Problem:
        """The problem of ``exc``, with a ``Retry-After`` if it says when."""
        if self.is_logged:
            log.error("%s", exc)
        seconds = getattr(exc, "retry_after_s", None)
        headers = {} if seconds is None else retry_after(seconds)
        named: dict[str, Any] = {self.names: getattr(exc, f"{self.names}_id")} if self.names else {}
        return Problem(self.status, self.title, self.detail or str(exc), headers=headers, **named)


def problem_of(exc: errors.SpoolError) -> Problem:
    """The problem of one of Spool's errors, by the rule of its class or of the nearest base."""
    for kind in type(exc).__mro__:
        rule = RULES.get(kind)
        if rule is not None:
            return rule(exc)
    return Problem(500, "Internal error", "unexpected error; see the server's log")


def _damaged(exc: errors.UndecodableRecord) -> Problem:
    log.error("cannot decode a stored record: %s", exc.reason)
    return Problem(409, "Record damaged", f"the stored record of this {exc.noun} cannot be read; {exc.remedy}")


def _conflict(exc: errors.IdempotencyConflict) -> Problem:
    named: dict[str, Any] = {"batch" if exc.job_id.startswith("b") else "job": exc.job_id}
    return Problem(422, "Idempotency conflict", str(exc), **named)


def _unknown_outcome(exc: errors.OutcomeUnknown) -> Problem:
    if exc.job_id is None:
        return _UNAVAILABLE(exc)
    detail = "the job may or may not have been accepted; look it up, or retry with an Idempotency-Key"
    return Problem(503, "Outcome unknown", detail, headers=retry_after(exc.retry_after_s), job=exc.job_id)


def _contents_unavailable(exc: errors.ContentsUnavailable) -> Problem:
    log.error("%s", exc)
    detail = "the store of files does not answer; retry"
    return Problem(503, "Store unavailable", detail, headers=retry_after(exc.retry_after_s))


_NOT_FOUND = Rule(404, "Not found")
_UNAVAILABLE = Rule(503, "Store unavailable", "Redis is unreachable or does not answer; retry")

RULES: Mapping[type, Callable[[Any], Problem]] = {
    errors.JobGone: Rule(410, "Gone", "the job has expired or was deleted", names="job"),
    errors.JobNotFound: Rule(404, "Not found", "no such job"),
    errors.BatchNotFound: Rule(404, "Not found", "no such batch"),
    errors.FileNotFound: Rule(404, "Not found", "no such file"),
    errors.KeyNotFound: _NOT_FOUND,
    errors.SwitchNotFound: _NOT_FOUND,
    errors.WebhookNotFound: _NOT_FOUND,
    errors.DeliveryNotFound: _NOT_FOUND,
    errors.ConversationNotFound: _NOT_FOUND,
    errors.ItemNotFound: _NOT_FOUND,
    errors.UploadExpired: Rule(408, "Request timeout"),
    errors.ContentLost: Rule(409, "Content unavailable", is_logged=True),
    errors.ContentElsewhere: Rule(409, "Content unavailable", is_logged=True),
    errors.TooManyKeys: Rule(409, "Too many keys"),
    errors.TooManySwitches: Rule(409, "Too many switches"),
    errors.TooManyWebhooks: Rule(409, "Too many webhooks"),
    errors.BatchStaging: Rule(409, "In progress"),
    errors.BatchMoved: Rule(409, "In progress", names="batch"),
    errors.JobNotEnded: Rule(409, "Not ended", names="job"),
    errors.BatchNotEnded: Rule(409, "Not ended", names="batch"),
    errors.BatchStopped: Rule(409, "Ended", names="batch"),
    errors.BatchClosed: Rule(409, "Batch closed", names="batch"),
    errors.ConversationBusy: Rule(409, "Conversation busy", names="job"),
    errors.UndecodableRecord: _damaged,
    errors.RecordDamaged: lambda exc: Problem(409, "Record damaged", f"{exc}; submit it again"),
    errors.ConversationTooLarge: Rule(413, "Conversation too large"),
    errors.WrongSwitch: lambda exc: field_problem(exc.field, exc.detail),
    errors.BatchTooLarge: lambda exc: field_problem("body", str(exc)),
    errors.UnknownModel: model_problem,
    errors.IdempotencyConflict: _conflict,
    errors.LimitExceeded: Rule(429, "Too many requests"),
    errors.ConversationFull: Rule(429, "Conversation full"),
    errors.OwnerQueueFull: Rule(429, "Owner queue full"),
    errors.OwnerBytesFull: Rule(429, "Owner memory full"),
    errors.OwnerFilesFull: Rule(429, "Owner files full"),
    errors.OwnerConversationsFull: Rule(429, "Owner conversations full"),
    errors.DeliveriesFull: Rule(429, "Deliveries full"),
    errors.TooManyOpenBatches: Rule(429, "Too many open batches"),
    errors.OwnerStreamsFull: Rule(429, "Owner streams full"),
    errors.QuotaExceeded: Rule(429, "Quota exceeded"),
    errors.QueueFull: Rule(503, "Queue full"),
    errors.SubmitsStopped: Rule(503, "Submits stopped"),
    errors.TransportOff: Rule(503, "Transport off"),
    errors.FilesFull: Rule(503, "Files full"),
    errors.TooManyStreams: Rule(503, "Too many streams"),
    errors.TooManyFolds: Rule(503, "Too many folds"),
    errors.RecordNewer: Rule(503, "Record newer", names="job"),
    errors.NoModel: Rule(503, "No model"),
    errors.Draining: Rule(503, "Draining", "this instance is draining; retry"),
    errors.OutcomeUnknown: _unknown_outcome,
    errors.StoreFull: Rule(503, "Store full", "Redis has no memory for more jobs; retry later"),
    errors.StoreRefusesWrites: Rule(
        503, "Store refuses writes", "Redis cannot write its files, or lacks replicas; retry later"
    ),
    errors.StoreReadOnly: Rule(
        503, "Store refuses writes", "the Redis that answered is a replica, which takes no writes; retry"
    ),
    errors.StoreForbidden: Rule(503, "Store unfit", "this server's Redis user lacks a permission"),
    errors.ContentsUnavailable: _contents_unavailable,
    errors.StoreUnfit: Rule(503, "Store unfit"),
    errors.StoreUnavailable: _UNAVAILABLE,
}
"""By class. A limit is 429 if it is the owner's, 503 if it is the instance's."""
