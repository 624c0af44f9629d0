"""OpenAI's Batch object, from a batch's record."""

from __future__ import annotations

from typing import Any

import pytest

from spool.batches.batch import Batch, BatchState
from spool.jobs.job import Status
from tests.web.openai.shapes_of_batches import COUNTS
from web.openai.batch_resource import as_created, batch_object, batch_of_file

ID = "b0-" + "0" * 26
TIMES: dict[str, Any] = {"in_progress_ms": 2000, "finalizing_ms": 4000, "ended_ms": 5000, "expires_ms": 9000}


def batch(state: BatchState, status: Status = Status.SUCCEEDED, **fields: Any) -> Batch:
    """A batch in this state."""
    counts = {**COUNTS, **fields.pop("counts", {})}
    return Batch(
        ID, "alice", state, 1, counts, 1000, log_status=status, completion_window_s=5400, **{**TIMES, **fields}
    )


@pytest.mark.parametrize(
    ("state", "counts", "output", "errors"),
    [
        (BatchState.COMPLETED, {}, True, False),
        (BatchState.COMPLETED, {"succeeded": 0, "failed": 1}, False, True),
        (BatchState.CANCELLED, {"cancelled": 1}, True, True),
        (BatchState.EXPIRED, {"succeeded": 0, "expired": 1}, False, True),
        (BatchState.IN_PROGRESS, {"failed": 1}, False, False),
    ],
    ids=lambda value: str(value)[:40],
)
def test_files_are_set_at_the_end(state: BatchState, counts: dict[str, int], output: bool, errors: bool) -> None:
    """Each has its id once the batch has ended and something is in it; before that, their ids are below ``spool``."""
    status = Status.RUNNING if state is BatchState.IN_PROGRESS else Status.SUCCEEDED
    found = batch_object(batch(state, status, counts=counts))
    assert [found["output_file_id"] is not None, found["error_file_id"] is not None] == [output, errors]
    for kind, file_id in (("output", found["spool"]["output_file_id"]), ("errors", found["spool"]["error_file_id"])):
        assert batch_of_file(file_id) == (ID, kind)


@pytest.mark.parametrize("state", [BatchState.COMPLETED, BatchState.CANCELLED, BatchState.EXPIRED, BatchState.FAILED])
def test_time_of_the_end_has_its_own_name(state: BatchState) -> None:
    """Exactly one of the four is set; the window is a duration again."""
    found: Any = batch_object(batch(state, errors=[{"code": "x", "line": 0, "message": "m", "param": None}]))
    ends = {name: found[f"{name}_at"] for name in ("completed", "cancelled", "expired", "failed")}
    assert {name for name, value in ends.items() if value} == {state.value}
    assert found["completion_window"] == "90m"
    expected = {"object": "list", "data": [{"code": "x", "line": None, "message": "m", "param": None}]}
    assert found["errors"] == (expected if state is BatchState.FAILED else None)


def test_create_answers_before_validation() -> None:
    """Whatever its lines are, the batch is validating, and nothing is counted."""
    found = as_created(batch_object(batch(BatchState.FAILED, errors=[])))
    assert (found["status"], found["errors"], found["failed_at"]) == ("validating", None, None)
    assert found["request_counts"] == {"total": 0, "completed": 0, "failed": 0}
    assert found["created_at"] == 1


@pytest.mark.parametrize("file_id", ["file-1", f"file-{ID}", f"file-{ID}-other", f"{ID}-output", ""])
def test_other_files_are_no_files_of_a_batch(file_id: str) -> None:
    """Only an id of their form is."""
    assert batch_of_file(file_id) is None
