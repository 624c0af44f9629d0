"""Acceptance of a batch: its submissions as text, and all its jobs or none."""

from __future__ import annotations

from collections.abc import Iterable

from flask import request

from spool.errors import (
    BatchNotFound,
    OutcomeUnknown,
    OwnerQueueFull,
    QueueFull,
    StoreFull,
    StoreUnavailable,
)
from spool.jobs.origin import UNKNOWN
from spool.jobs.store import JobStore
from spool.jobs.submission import NewBatch
from web import bounded_json
from web.intake.accept import new_job, stop_of
from web.intake.body import read_body
from web.intake.draft import Draft
from web.intake.idempotency import Idempotency
from web.limits.bodies import job_bytes
from web.metrics import BATCHES, SUBMITTED
from web.problems import Problem, field_problem, retry_after
from web.request_ids import say
from web.services import State
from web.time_slices import in_slices

JSONL = ("application/x-ndjson", "application/jsonl", "application/x-jsonlines")
"""The media types of JSON lines."""
_STAGED_AT_ONCE = 50
"""Jobs written in one call. It blocks Redis for a few milliseconds."""
_BELLS = 100
_LINES_FACTOR = 2
"""The most lines for each allowed job of a batch; the excess can only be blank lines."""


def submission_texts(services: State) -> list[tuple[str, memoryview]]:
    """The unparsed JSON text of each submission in the body, with its position. Their number and sizes are checked
    before the first is parsed. Raises a 413, 415 or 422 ``Problem``, ``QueueFull`` and ``OwnerQueueFull``."""
    most = services.settings.max_batch_jobs
    largest = job_bytes(services.settings.max_body_bytes, services.settings.max_prompt_bytes)
    if request.mimetype == "application/json":
        try:
            texts = [(f"[{at}]", text) for at, text in enumerate(bounded_json.elements(read_body(), most, largest))]
        except bounded_json.TooLarge as exc:
            raise field_problem(f"[{exc.index}]", f"is larger than {largest} bytes", status=413) from exc
        except bounded_json.Refused as exc:
            raise field_problem("body", str(exc)) from exc
    elif request.mimetype in JSONL:
        texts = _lines(read_body(), most)
    else:
        accepted = {"Accept": ", ".join(("application/json", *JSONL))}
        raise Problem(415, "Wrong media type", f"send application/json or {JSONL[0]}", headers=accepted)
    if not 1 <= len(texts) <= most:
        raise field_problem("body", f"must have 1 to {most} submissions")
    for place, text in texts:
        if len(text) > largest:
            raise field_problem(place, f"is larger than {largest} bytes", status=413)
    _refuse_too_many(services, len(texts))
    return texts


def _lines(data: bytes, most: int) -> list[tuple[str, memoryview]]:
    """The non-blank lines with their numbers."""
    ends = data.count(b"\n")
    if ends > _LINES_FACTOR * most:
        raise field_problem(
            "body", f"has {ends} lines: at most {_LINES_FACTOR * most} are allowed, blank ones included"
        )
    lines = enumerate(data.split(b"\n"), 1)
    return [(f"line {number}", memoryview(line)) for number, line in in_slices(lines) if line.strip()]


def _refuse_too_many(services: State, count: int) -> None:
    """Raise for a batch that can never fit, before any of it is parsed."""
    most = services.settings.max_queued
    if count > most:
        raise QueueFull(f"a batch may have at most {most} jobs", retry_after_s=60.0)
    if 0 < services.limits.queued < count:
        raise OwnerQueueFull(retry_after_s=60.0)


def accept_batch(services: State, owner: str, drafts: Iterable[Draft], idempotency: Idempotency) -> tuple[str, bool]:
    """Check every draft, reserve room for all jobs, then write them. No job starts before the last one is written.
    Returns the batch's id, and whether an earlier request with the same Idempotency-Key made it. Raises a ``Problem``
    and the errors of ``JobStore.stage_batch``."""
    batch_id = services.shards.place_batch(owner, idempotency.key)
    jobs = [new_job(services, draft, batch=batch_id, batch_index=index) for index, draft in enumerate(drafts)]
    origin = jobs[0].origin if jobs else UNKNOWN
    batch = NewBatch(batch_id, owner, jobs, idempotency.key, idempotency.body, origin.credential)
    limits, stopped = services.limits_of(owner, origin), stop_of(services, jobs)
    max_queued = 0 if stopped else services.settings.max_queued
    try:
        accepted_id = services.store.stage_batch(batch, max_queued=max_queued, limits=limits)
    except QueueFull as exc:
        raise stopped or exc from exc
    if accepted_id != batch_id:
        return accepted_id, True
    _write(services, batch)
    return batch_id, False


def _write(services: State, batch: NewBatch) -> None:
    """Write the reserved jobs and release them to workers, all or nothing. An incomplete batch is dropped here, or by
    the keeper if this process dies."""
    try:
        for start in range(0, len(batch.jobs), _STAGED_AT_ONCE):
            jobs = batch.jobs[start : start + _STAGED_AT_ONCE]
            services.store.submit_many(jobs, max_queued=services.settings.max_queued, limits=services.limits)
        services.store.seal_batch(batch)
    except Exception as exc:
        if not _is_sealed_after_all(services.store, batch, exc):
            if isinstance(exc, StoreUnavailable | BatchNotFound):
                raise _not_accepted(exc) from exc
            raise
    SUBMITTED.labels(batch.jobs[0].surface).inc(len(batch.jobs))
    BATCHES.inc()
    say("batch_submitted", batch=batch.id, owner=batch.owner, jobs=len(batch.jobs))
    for _ in range(min(len(batch.jobs), _BELLS)):
        # One bell for each slot that may be free. A worker that finishes a job claims the next; the keeper rings later.
        services.bell.ring(batch.id)


def _is_sealed_after_all(store: JobStore, batch: NewBatch, exc: Exception) -> bool:
    """Drop the batch. True if it turns out sealed, because only the answer to the seal was lost."""
    try:
        return not store.drop_batch(batch.id)
    except StoreUnavailable:
        if isinstance(exc, OutcomeUnknown):
            detail = "the batch may or may not have been accepted; look it up, or retry with an Idempotency-Key"
            raise Problem(503, "Outcome unknown", detail, headers=retry_after(2), batch=batch.id) from exc
        return False


def _not_accepted(exc: StoreUnavailable | BatchNotFound) -> Problem:
    detail = "the batch was not accepted and nothing of it is stored; retry"
    title = "Store full" if isinstance(exc, StoreFull) else "Store unavailable"
    return Problem(503, title, detail, headers=retry_after(getattr(exc, "retry_after_s", 2.0)))
