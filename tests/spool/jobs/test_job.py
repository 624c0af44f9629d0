"""The job's record: decoded from every version, shown as the API shows it."""

from __future__ import annotations

from typing import Any

import pytest

from spool.errors import UndecodableRecord
from spool.jobs.job import ENDED, FIELDS, TRANSITIONS, Job, Priority, Status

OLDEST = {
    "schema": "1",
    "id": "j0-00000000000000000000000000",
    "owner": "alice",
    "model": "demo",
    "status": "queued",
    "created_ms": "1795253400123",
    "deadline_ms": "1795257000123",
}


def raw(**fields: str | None) -> list[bytes | None]:
    """A record's values: those of the oldest one, as ``fields`` change it."""
    record = {**OLDEST, **fields}
    values = [record.get(name) for name in FIELDS]
    return [None if value is None else value.encode() for value in values]


def test_oldest_record() -> None:
    """A record with nothing but what every version has is read."""
    job = Job.decode(raw())
    assert (job.id, job.status, job.priority) == (OLDEST["id"], Status.QUEUED, Priority.INTERACTIVE)
    assert (job.created_at, job.started_at, job.ended_at) == (1795253400.123, None, None)
    assert (job.last_entry, job.attempt, job.attempt_first, job.metadata, job.coalesce) == (0, 0, 1, {}, None)
    assert not job.ended


class Asked(dict[str, str]):
    """A record that remembers which of its fields were asked for."""

    def __init__(self, values: dict[str, str]) -> None:
        super().__init__(values)
        self.names: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.names.add(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        """As of a dict."""
        self.names.add(name)
        return super().get(name, default)


def test_fields_are_what_a_job_is_read_from() -> None:
    """Scripts answer each field that a job is read from, and no other."""
    asked = Asked({**OLDEST, "batch": "b0x", "batch_index": "1", "conversation": "c"})
    Job._from_record(asked, None, None, 0)
    assert asked.names == set(FIELDS)
    assert len(FIELDS) == len(set(FIELDS))


@pytest.mark.parametrize("missing", ["id", "owner", "model", "status", "created_ms", "deadline_ms"])
def test_record_without_what_every_job_has(missing: str) -> None:
    """A record that lacks something is a named error that keeps the bytes."""
    with pytest.raises(UndecodableRecord) as caught:
        Job.decode(raw(**{missing: None}))
    assert caught.value.raw == raw(**{missing: None})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("id", "7"),
        ("status", "asleep"),
        ("created_ms", "soon"),
        ("created_ms", ""),
        ("last", "x"),
        ("last", "99999999999999999999"),
        ("attempt", "99999999999999999999"),
        ("error", "{"),
        ("priority", "urgent"),
        ("coalesce", "{"),
        ("coalesce", '{"ms":1}'),
    ],
)
def test_record_that_is_damaged(name: str, value: str) -> None:
    """A record that cannot be read is a named error."""
    with pytest.raises(UndecodableRecord):
        Job.decode(raw(**{name: value}))


@pytest.mark.parametrize("status", Status)
def test_job_has_ended(status: Status) -> None:
    """A job has ended in the states that nothing follows."""
    assert Job.decode(raw(status=status.value)).ended == (status in ENDED) == (not TRANSITIONS[status])
