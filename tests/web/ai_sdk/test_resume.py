"""Which answers of a chat can be resumed."""

from __future__ import annotations

import pytest

from spool.jobs.job import Job, Status
from web.ai_sdk.resume import REPLAY_S, is_resumable


@pytest.mark.parametrize(
    ("ended_at", "now", "expected"),
    [
        (None, 10_000, True),
        (1000, 1000, True),
        (1000, 999, True),
        (1000, 1000 + REPLAY_S - 1, True),
        (1000, 1000 + REPLAY_S, False),
    ],
    ids=["running", "just ended", "clocks differ", "ended before", "ended long ago"],
)
def test_how_long_an_answer_is_resumable(ended_at: int | None, now: float, expected: bool) -> None:
    """An answer is resumable while it runs and for some minutes after its end."""
    status = Status.SUCCEEDED if ended_at else Status.RUNNING
    job = Job("j0-x", status, "alice", "demo", created_at=0, deadline_at=20_000, ended_at=ended_at)
    assert is_resumable(job, now) is expected
