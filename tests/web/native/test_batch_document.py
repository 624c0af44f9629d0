"""The documents of batches and their result lines."""

from __future__ import annotations

import pytest

from spool.batches.batch import COUNTS, Batch, BatchState
from spool.jobs.job import Job
from web.examples import JOB
from web.native.batch_document import batch_document, result_document
from web.native.batch_log import LINE
from web.native.job_document import job_document

BATCH = Batch("b0-1", "alice", BatchState.IN_PROGRESS, 2, dict.fromkeys(COUNTS, 0), 5, expires_ms=9000)


def test_result_has_the_fields_of_a_job() -> None:
    """A result line has every field that a job's document has, with the text last."""
    job: Job = JOB
    document = result_document(LINE, BATCH)
    assert job_document(job).keys() <= document.keys()
    assert list(document)[-1] == "text"
    assert (document["cursor"], document["id"], document["text"]) == (1, LINE["job"], LINE["content"])


@pytest.mark.parametrize("expired", [0, 1])
def test_counts_of_a_batch(expired: int) -> None:
    """``expired`` is counted where lines have expired: clients add up the states that they know."""
    counts = batch_document(Batch("b0-1", "alice", BatchState.EXPIRED, 2, {**BATCH.counts, "expired": expired}, 5))[
        "counts"
    ]
    assert ("expired" in counts) is bool(expired)
