"""The entries of a log as clients read them: one shape for each kind (``spool.jobs.entries.Kind``)."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from web.native.job_document import JobError, WaitingFor


class _Entry(TypedDict):
    id: Annotated[int, Field(ge=1)]
    at: str


class Started(_Entry):
    """The first attempt began."""

    kind: Literal["started"]
    attempt: int
    model: str


class Piece(_Entry):
    """A piece of the answer's text, or of the model's reasoning. One without text may have ``refusal`` (what follows is
    a refusal), ``annotations`` of the text so far, or ``logprobs`` of its last tokens."""

    kind: Literal["token", "reasoning"]
    text: str
    refusal: NotRequired[bool]
    annotations: NotRequired[list[dict[str, Any]]]
    logprobs: NotRequired[list[dict[str, Any]]]


class ToolCallPiece(_Entry):
    """A piece of a tool call; its ``arguments`` join those of the pieces before it."""

    kind: Literal["tool_call"]
    index: int
    call_id: str | None
    name: str | None
    arguments: str


class ResultPiece(_Entry):
    """A piece of the JSON text that the upstream answered to one request, such as one for embeddings; its ``body``
    joins those of the pieces before it."""

    kind: Literal["result"]
    body: str


class Usage(_Entry):
    """The tokens used. The first two counts include the last two."""

    kind: Literal["usage"]
    input_tokens: int
    output_tokens: int
    cached_tokens: NotRequired[int | None]
    reasoning_tokens: NotRequired[int | None]


class Line(_Entry):
    """In the log of a batch: a line has ended. ``job`` is the id of its job."""

    kind: Literal["line"]
    batch_index: int | None
    job: str
    status: Literal["succeeded", "failed", "cancelled", "expired"]
    content: str
    custom_id: NotRequired[str]
    model: NotRequired[str | None]
    reasoning: NotRequired[str | None]
    tool_calls: NotRequired[list[dict[str, Any]]]
    finish_reason: NotRequired[str | None]
    usage: NotRequired[dict[str, Any] | None]
    error: JobError | None
    metadata: NotRequired[dict[str, Any] | None]


class Attempt(_Entry):
    """Another attempt began: ``restarted``, the text before no longer counts; ``continued``, it does."""

    kind: Literal["restarted", "continued"]
    attempt: int
    reason: str


class Waiting(_Entry):
    """The upstream refuses temporarily."""

    kind: Literal["waiting"]
    reason: str
    retry_at: str


class Done(_Entry):
    """The job succeeded. The last entry."""

    kind: Literal["done"]
    finish_reason: str


class Failed(_Entry):
    """The job failed. The last entry."""

    kind: Literal["failed"]
    error: JobError


class Cancelled(_Entry):
    """The job was cancelled. The last entry."""

    kind: Literal["cancelled"]


class BatchOver(_Entry):
    """In the log of a batch: all of its lines have ended, or it has expired or failed. The last entry."""

    kind: Literal["done", "failed", "cancelled"]
    finish_reason: NotRequired[str]
    error: NotRequired[JobError]
    state: Literal["completed", "cancelled", "expired", "failed"]
    counts: dict[str, int]


BatchEntryDocument = Annotated[Line | BatchOver, Field(discriminator="kind")]
"""One entry of a batch's log."""

EntryDocument = Annotated[
    Started | Piece | ToolCallPiece | ResultPiece | Usage | Attempt | Waiting | Done | Failed | Cancelled,
    Field(discriminator="kind"),
]
"""One entry of a log."""


class GapDocument(TypedDict):
    """Entries that are missing; null where nothing is left."""

    requested: int
    earliest: int | None
    latest: int | None


class GapMessage(GapDocument):
    """The report of a gap in a stream."""

    type: Literal["gap"]


class Attached(TypedDict):
    """The first event of a stream."""

    type: Literal["attached"]
    job: str
    status: str
    after: int
    last: int


class Reconnect(TypedDict):
    """The process drains; connect again with the last id."""

    type: Literal["reconnect"]


class Unavailable(TypedDict):
    """A temporary refusal; connect again later."""

    type: Literal["unavailable"]
    reason: str
    detail: str


class Gone(TypedDict):
    """The rest of the log is gone; there is nothing to come back for."""

    type: Literal["gone"]


class Heartbeat(TypedDict):
    """A heartbeat with the id of the last entry sent. ``job`` or ``batch`` on ``/ws``."""

    type: Literal["heartbeat"]
    last: int
    job: NotRequired[str]
    batch: NotRequired[str]


class Queued(TypedDict):
    """Why the job waits, when that has changed. It is no entry and has no id."""

    type: Literal["queued"]
    position: int | None
    position_is: Literal["exact", "estimate"] | None
    estimated_start_at: str | None
    waiting_for: WaitingFor


class Notice(TypedDict):
    """The operator's notice to all readers; null: there is none any more. It is no entry and has no id. ``job`` or
    ``batch`` on ``/ws``."""

    type: Literal["notice"]
    text: str | None
    job: NotRequired[str]
    batch: NotRequired[str]


class Ping(TypedDict):
    """A heartbeat of NDJSON with the id of the last entry sent."""

    type: Literal["ping"]
    last: int
