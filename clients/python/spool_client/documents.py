"""The documents of the API, typed. The server may add fields; none is renamed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NotRequired, TypedDict

ENDS: Mapping[str, str] = {"done": "succeeded", "failed": "failed", "cancelled": "cancelled"}
"""The terminal entries, and the status that each gives its job."""


class JobError(TypedDict):
    """Why a job failed."""

    code: str
    message: str
    retryable: bool


class Job(TypedDict):
    """A job's record."""

    id: str
    status: str
    model: str
    owner: str
    priority: str
    created_at: str
    started_at: str | None
    ended_at: str | None
    deadline_at: str
    attempt: int
    last_entry: int
    queue_position: int | None
    cancel_requested_at: str | None
    finish_reason: str | None
    usage: dict[str, Any] | None
    error: JobError | None
    metadata: dict[str, Any]
    batch: str | None
    batch_index: int | None
    urls: dict[str, str]
    text: NotRequired[str]


class Batch(TypedDict):
    """A batch, and the number of its jobs in each state."""

    id: str
    owner: str
    created_at: str
    total: int
    counts: dict[str, int]
    ended: bool
    urls: dict[str, str]


class AddedLines(TypedDict):
    """Lines that were added to a batch: the ``batch_index`` of the first one, and their number."""

    first: int
    count: int
    batch: Batch


BATCH_ENDS = ("succeeded", "failed", "cancelled", "expired")
"""The counts of jobs that have ended. Servers leave out ``expired`` while it is 0."""


def ended_in(batch: Batch) -> int:
    """How many of the batch's jobs have ended."""
    return sum(batch["counts"].get(name, 0) for name in BATCH_ENDS)


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a job's log. ``fields`` has those of its kind."""

    id: int
    kind: str
    at: str
    fields: Mapping[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The text of a ``token`` or ``reasoning`` entry, else empty."""
        return str(self.fields.get("text", ""))

    @property
    def is_terminal(self) -> bool:
        """Whether the log ends with it."""
        return self.kind in ENDS

    def as_dict(self) -> dict[str, Any]:
        """The entry as the server sent it."""
        return {"id": self.id, "kind": self.kind, "at": self.at, **self.fields}


@dataclass(frozen=True, slots=True)
class Message:
    """A message of a stream that is not an entry: ``gap``, ``snapshot``, ``queued``, ``notice``. Its ``kind`` is empty,
    so that a loop over entries may compare kinds without a check."""

    type: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    kind: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The message as the server sent it."""
        return {"type": self.type, **self.fields}


Document = Entry | Message


def has_ended(status: str) -> bool:
    """Whether a job with this status has ended."""
    return status in ENDS.values()
