"""A batch with a log that can be read, and the places in that log."""

from __future__ import annotations

from spool.batches.batch import Batch
from web.arguments import LATEST
from web.problems import Problem
from web.services import State


def logged(services: State, batch_id: str, owner: str) -> Batch:
    """The owner's batch. Raises a 409 ``Problem`` for one without a log."""
    batch = services.batches.look(batch_id, owner)
    if not batch.has_log:
        raise Problem(409, "No log", "an older version accepted this batch; read its results", batch=batch_id)
    return batch


def after_of(batch: Batch, place: int) -> int:
    """The cursor of a place. Ids of a batch's log have no gaps."""
    if place == LATEST:
        return batch.last_entry
    return max(0, batch.last_entry + place) if place < 0 else place
