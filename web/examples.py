"""A job and its log, from which the examples of the API's description are made."""

from __future__ import annotations

from spool.jobs.conversation import Answer
from spool.jobs.entries import Entry, Kind
from spool.jobs.job import Job, Status
from spool.jobs.log import Row

CREATED = 1795253400.123
JOB = Job(
    id="j0-5d41402abc4b2a76b9719d911017",
    status=Status.SUCCEEDED,
    owner="alice",
    model="demo",
    created_at=CREATED,
    deadline_at=CREATED + 3600,
    started_at=CREATED + 0.002,
    ended_at=CREATED + 1.25,
    attempt=1,
    last_entry=5,
    finish_reason="stop",
    usage={"input_tokens": 6, "output_tokens": 2},
    text="Blue light.",
)
"""A job that has ended."""
BATCH_ID = "b0-5d41402abc4b2a76b9719d911017"
_AT = "2026-11-21T09:30:00.123Z"
ENTRIES = [
    Entry(1, Kind.STARTED, _AT, {"attempt": 1, "model": JOB.model}),
    Entry(2, Kind.TOKEN, _AT, {"text": "Blue"}),
    Entry(3, Kind.TOKEN, _AT, {"text": " light."}),
    Entry(4, Kind.USAGE, _AT, dict(JOB.usage or {})),
    Entry(5, Kind.DONE, _AT, {"finish_reason": "stop"}),
]
"""Its log."""
ROWS: list[Row] = [(entry.id, entry.encode()) for entry in ENTRIES]


def example_answer() -> Answer:
    """The answer of that log."""
    answer = Answer(JOB.id)
    answer.add_all([raw for _entry_id, raw in ROWS])
    return answer
