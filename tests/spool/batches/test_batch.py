"""The record of a batch as it is read."""

from __future__ import annotations

import pytest

from spool.batches.batch import Batch, BatchState, decode
from spool.errors import UndecodableRecord
from spool.jobs.job import Status

OLDER = {"owner": "alice", "total": "3", "created_ms": "5", "ttl_s": "60", "queued": "1", "succeeded": "2"}
RECORD = {
    **OLDER,
    "status": "running",
    "state": "in_progress",
    "last": "2",
    "lanes": "1",
    "model:0": "demo",
    "metadata": '{"a":"b"}',
    "errors": "[]",
    "expires_ms": "900",
    "window_s": "9",
}


def test_record_of_an_older_version() -> None:
    """A batch of a version without logs is read by its counts."""
    batch = decode("b0-1", OLDER)
    assert (batch.has_log, batch.state, batch.is_ended) == (False, BatchState.IN_PROGRESS, False)
    assert decode("b0-1", {**OLDER, "queued": "0", "failed": "1"}).is_ended


def test_record() -> None:
    """The record's fields are the batch's."""
    batch = decode("b0-1", RECORD)
    assert (batch.has_log, batch.state, batch.model, batch.metadata) == (
        True,
        BatchState.IN_PROGRESS,
        "demo",
        {"a": "b"},
    )
    assert (batch.last_entry, batch.expires_ms, batch.completion_window_s) == (2, 900, 9)


@pytest.mark.parametrize(
    "wrong",
    [
        *({"state": "lost"}, {"total": "x"}, {"errors": "{"}, {"status": "paused"}),
        *({"errors": "[1]"}, {"errors": '{"a":1}'}, {"errors": '[{"line":1}]'}, {"metadata": "[1]"}, {"metadata": "7"}),
        *({"queued": "9" * 30}, {"created_ms": "9" * 400}, {"expires_ms": "9" * 5000}, {"last": "9" * 16}),
    ],
    ids=lambda wrong: repr(wrong)[:40],
)
def test_damaged_record(wrong: dict[str, str]) -> None:
    """A record that cannot be read is an error."""
    with pytest.raises(UndecodableRecord):
        decode("b0-1", {**RECORD, **wrong})


def test_log_of_a_batch_is_followed_like_a_job() -> None:
    """Followers get id, end and owner of the log."""
    batch: Batch = decode("b0-1", {**RECORD, "status": "succeeded", "state": "completed"})
    job = batch.as_log()
    assert (job.id, job.owner, job.status, job.last_entry) == ("b0-1", "alice", Status.SUCCEEDED, 2)
