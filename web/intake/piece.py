"""Acceptance of a piece: lines for an open batch, all or none."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from spool.batches.batch import Batch
from spool.batches.line import BadLine, Line
from spool.batches.pieces import Added, Piece
from spool.errors import BatchMoved, OutcomeUnknown, QueueFull, StoreUnavailable, TooManyModels
from spool.ids import shard_of
from web.intake.accept import stop_of
from web.intake.batch import not_accepted
from web.intake.idempotency import Idempotency
from web.metrics import SUBMITTED
from web.problems import Problem, field_problem, retry_after
from web.request_ids import origin, say
from web.services import State

_TRIES = 10
"""The most times that a piece is tried while other requests add theirs."""


def add_piece(
    services: State, batch: Batch, lines_from: Callable[[int], Iterable[Line | BadLine]], idempotency: Idempotency
) -> Added:
    """Check the lines, and add them to the batch in one step. ``lines_from`` gives them with the index of the first.
    Raises a ``Problem`` and the errors of ``Pieces.add``; then none is added."""
    first, credential, limits = batch.total, origin().credential, services.limits_of(batch.owner, origin())
    for tries_left in reversed(range(_TRIES)):
        lines = list(lines_from(first))
        stopped = stop_of(services, [line.job for line in lines if isinstance(line, Line)])
        # A repeated request is answered, also while a switch stops new ones.
        max_queued = 0 if stopped else services.settings.max_queued
        piece = Piece(batch.id, batch.owner, first, lines, idempotency.key, idempotency.body, credential)
        try:
            added = services.pieces.add(
                piece, most=services.settings.max_batch_jobs, max_queued=max_queued, limits=limits
            )
        except BatchMoved as exc:
            if not tries_left:
                raise
            first = exc.total
            continue
        except QueueFull as exc:
            raise stopped or exc from exc
        except OutcomeUnknown as exc:
            detail = "the lines may or may not have been added; look at the batch, or retry with an Idempotency-Key"
            raise Problem(503, "Outcome unknown", detail, headers=retry_after(2), batch=batch.id) from exc
        except StoreUnavailable as exc:
            raise not_accepted(exc) from exc
        except TooManyModels as exc:
            raise field_problem("body", str(exc)) from exc
        if not added.replayed:
            _begin(services, batch, added, sum(isinstance(line, Line) for line in lines))
        return added
    raise AssertionError("unreachable")


def _begin(services: State, batch: Batch, added: Added, jobs: int) -> None:
    """Turn the first lines into jobs. If this fails, the feeder does it."""
    SUBMITTED.labels(batch.surface).inc(jobs)
    say("batch_lines_added", batch=batch.id, owner=batch.owner, first=added.first, jobs=jobs)
    try:
        fed = services.feeders[shard_of(batch.id)].continue_at(batch.id, added.feedable)
    except StoreUnavailable:
        return
    for _ in range(fed):
        services.bell.ring(batch.id)
