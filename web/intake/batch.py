"""Acceptance of a batch: its submissions as text, and all its lines or none."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack

from flask import request

from spool.batches.batch import Batch, BatchOptions, OnBadLine
from spool.batches.line import BadLine, Line
from spool.batches.store import NewBatch, Staging
from spool.errors import (
    OutcomeUnknown,
    OwnerQueueFull,
    QueueFull,
    StoreFull,
    StoreRefusesWrites,
    StoreUnavailable,
    TooManyModels,
)
from spool.ids import shard_of
from web import bounded_json
from web.intake.accept import stop_of
from web.intake.body import GZIP, body_coding, read_body
from web.intake.body_lines import body_lines, inflated_body
from web.intake.idempotency import Idempotency
from web.limits.bodies import job_bytes
from web.metrics import BATCHES, SUBMITTED
from web.problems import Problem, field_problem, retry_after
from web.request_ids import origin as request_origin
from web.request_ids import say
from web.services import State
from web.time_slices import in_slices

JSONL = ("application/x-ndjson", "application/jsonl", "application/x-jsonlines")
"""The media types of JSON lines."""
_TITLES = {StoreFull: "Store full", StoreRefusesWrites: "Store refuses writes"}
_FIRST_LINES = 64
"""Lines of each model that become jobs before the request is answered, so that small batches begin at once."""
_BELLS = 100
_CANCELLED_AT_ONCE = 200
LINES_FACTOR = 2
"""The most lines for each allowed job of a batch; the excess can only be blank lines."""


def json_text(services: State, held: ExitStack) -> bytes | None:
    """The whole body, if it is one JSON text; None for another media type. The body may be gzip. Raises as
    ``submission_texts`` does."""
    if request.mimetype != "application/json":
        return None
    most = services.settings.max_body_bytes
    return inflated_body(services, most, held) if body_coding(GZIP) == GZIP else read_body()


def submission_texts(
    services: State, held: ExitStack, body: bytes | None, most_bytes: int = 0
) -> Iterator[tuple[str, bytes | memoryview | None]]:
    """The unparsed JSON text of each submission, with its position: of the array ``body``, or of the JSON lines of the
    request, which are read while they arrive and may be gzip. The text of a line that is too large is None. Raises a
    400, 408, 413, 415 or 422 ``Problem``, ``QueueFull`` and ``OwnerQueueFull``, at the first submission that is too
    many. ``held`` keeps what the body takes of the process. JSON lines may have ``most_bytes``; 0: those of a file."""
    settings = services.settings
    most, largest = settings.max_batch_jobs, job_bytes(settings.max_body_bytes, settings.max_prompt_bytes)
    if request.mimetype in JSONL:
        return _counted(services, _lines(body_lines(services, largest, held, most_bytes), most))
    if body is not None:
        return _counted(services, _elements(body, most, largest))
    accepted = {"Accept": ", ".join(("application/json", *JSONL))}
    raise Problem(415, "Wrong media type", f"send application/json or {JSONL[0]}", headers=accepted)


def _counted(
    services: State, texts: Iterator[tuple[str, bytes | memoryview | None]]
) -> Iterator[tuple[str, bytes | memoryview | None]]:
    """The texts. Raises before one that is too many for a batch, or for a queue that is empty."""
    most, queued, owner_queued = services.settings.max_batch_jobs, services.settings.max_queued, services.limits.queued
    count = 0
    for count, each in enumerate(texts, 1):
        if count > most:
            break
        if count > queued:
            raise QueueFull(f"a batch may have at most {queued} jobs", retry_after_s=60.0)
        if 0 < owner_queued < count:
            raise OwnerQueueFull(retry_after_s=60.0)
        yield each
    if not 1 <= count <= most:
        raise field_problem("body", f"must have 1 to {most} submissions")


def _elements(body: bytes, most: int, largest: int) -> Iterator[tuple[str, memoryview]]:
    """The elements of an array with their positions. Their number and sizes are checked before the first one."""
    try:
        elements = bounded_json.elements(body, most, largest)
    except bounded_json.TooLarge as exc:
        raise field_problem(f"[{exc.index}]", f"is larger than {largest} bytes", status=413) from exc
    except bounded_json.Refused as exc:
        raise field_problem("body", str(exc)) from exc
    yield from ((f"[{at}]", text) for at, text in enumerate(elements))


def _lines(lines: Iterable[tuple[int, bytes | None]], most: int) -> Iterator[tuple[str, bytes | None]]:
    """The non-blank lines with their positions."""
    for number, line in in_slices(lines):
        if number > LINES_FACTOR * most:
            allowed = f"at most {LINES_FACTOR * most} are allowed, blank ones included"
            raise field_problem("body", f"has too many lines: {allowed}")
        if line is None or line.strip():
            yield f"line {number}", line


def create_batch(
    services: State,
    owner: str,
    lines: Iterable[Line | BadLine],
    options: BatchOptions,
    idempotency: Idempotency,
    *,
    digest: Callable[[], str] | None = None,
) -> tuple[str, bool]:
    """Check every line, then create the batch in one step. Returns the batch's id, and whether an earlier request made
    it: one with the same Idempotency-Key, or a try of which this is another. ``digest`` gives that of the body once all
    lines are read. Raises a ``Problem``, and the errors of ``Staging``; then nothing is stored."""
    origin, repeat = request_origin(), idempotency.repeat
    batch_id = services.shards.place_batch(owner, idempotency.key or (repeat.key if repeat else ""))
    new = NewBatch(batch_id, owner, options, idempotency.key, repeat, origin.credential)
    with services.batches.staging(new) as staging:
        try:
            stopped = None
            for line in lines:
                staging.add(line)
                if stopped is None and isinstance(line, Line):
                    stopped = stop_of(services, [line.job])
            body = digest() if digest is not None else idempotency.body
            limits = services.limits_of(owner, origin)
            # A repeated request is answered, also while a switch stops new ones.
            max_queued = 0 if stopped else services.settings.max_queued
            accepted_id = staging.create(body, max_queued=max_queued, limits=limits)
        except QueueFull as exc:
            raise stopped or exc from exc
        except OutcomeUnknown as exc:
            detail = "the batch may or may not have been accepted; look it up, or retry with an Idempotency-Key"
            raise Problem(503, "Outcome unknown", detail, headers=retry_after(2), batch=batch_id) from exc
        except StoreUnavailable as exc:
            raise not_accepted(exc) from exc
        except TooManyModels as exc:
            raise field_problem("body", str(exc)) from exc
        if accepted_id != batch_id:
            return accepted_id, True
        has_failed = options.on_bad_line is OnBadLine.FAIL and staging.bad > 0
        if not has_failed:
            _begin(services, new, staging)
        say("batch_submitted", batch=batch_id, owner=owner, jobs=staging.total, bad=staging.bad or None)
    return batch_id, False


def cancel_batch(services: State, batch_id: str, owner: str) -> Batch:
    """Cancel the batch's lines that have not ended: none begins from now on. Returns the batch afterwards. Raises
    ``BatchNotFound``; if Redis fails after the first step, the feeder does the rest."""
    if services.batches.look(batch_id, owner).has_log:
        if services.batches.stop(batch_id, owner):
            services.feeders[shard_of(batch_id)].settle(batch_id, "cancelled")
    else:
        _cancel_older(services, batch_id, owner)
    return services.batches.look(batch_id, owner)


def _cancel_older(services: State, batch_id: str, owner: str) -> None:
    """Cancel the jobs of a batch that an older version wrote."""
    start = 0
    while job_ids := services.store.batch_jobs(batch_id, ended=False, start=start, count=_CANCELLED_AT_ONCE):
        services.store.cancel_many(job_ids, owner)
        start += len(job_ids)


def _begin(services: State, new: NewBatch, staging: Staging) -> None:
    """Turn the first lines into jobs. If this fails, the feeder does it."""
    SUBMITTED.labels(new.options.surface).inc(staging.total - staging.bad)
    BATCHES.inc()
    feeder = services.feeders[shard_of(new.id)]
    try:
        fed = feeder.feed(new.id, staging.sizes, _FIRST_LINES)
    except StoreUnavailable:
        return
    for _ in range(min(fed, _BELLS)):
        # One bell for each slot that may be free. A worker that finishes a job claims the next; the keeper rings later.
        services.bell.ring(new.id)


def not_accepted(exc: StoreUnavailable) -> Problem:
    """The problem of lines that were not accepted, because Redis fails."""
    detail = "the lines were not accepted and nothing of them is stored; retry"
    return Problem(
        503,
        _TITLES.get(type(exc), "Store unavailable"),
        detail,
        headers=retry_after(getattr(exc, "retry_after_s", 2.0)),
    )
