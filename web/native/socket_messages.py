"""The messages of the WebSockets, as their contracts declare them."""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from web.arguments import BACK_AT_MOST, LATEST
from web.contract import Answer, Parameter
from web.native.beginning import SnapshotDocument
from web.native.entry_document import BatchEntryDocument, EntryDocument, GapMessage, Heartbeat, Notice, Queued
from web.native.submission import Submission

SUBPROTOCOL = Parameter(
    "Sec-WebSocket-Protocol",
    str,
    "`spool.json`, the default: a frame is an entry. `spool.text`: a frame is the bare text of a token.",
)
UPGRADED = {101: Answer("The WebSocket. Its messages are in `x-websocket`.")}
"""The answer to an upgrade."""


class CancelMessage(TypedDict):
    """Cancels the job of this socket."""

    type: Literal["cancel"]


class Submit(Submission):
    """Submits a job and follows it. ``ref`` is repeated in the answer."""

    type: Literal["submit"]
    ref: str | None = None


class Follow(TypedDict):
    """Follows a job from the entry after ``after``: a cursor, ``latest``, or -N for the last N entries. ``snapshot``:
    begin with the answer so far, if there is no cursor."""

    type: Literal["follow"]
    job: str
    after: NotRequired[Annotated[int, Field(ge=-BACK_AT_MOST, lt=LATEST)] | Literal["latest"]]
    snapshot: NotRequired[bool]


class FollowBatch(TypedDict):
    """Follows the log of a batch, as ``follow`` of a job. It needs the scope ``batches``."""

    type: Literal["follow"]
    batch: str
    after: NotRequired[Annotated[int, Field(ge=-BACK_AT_MOST, lt=LATEST)] | Literal["latest"]]


class JobCommand(TypedDict):
    """Stops following a job, or cancels it."""

    type: Literal["unfollow", "cancel"]
    job: str


class BatchCommand(TypedDict):
    """Stops following a batch, or cancels it."""

    type: Literal["unfollow", "cancel"]
    batch: str


class Accepted(TypedDict):
    """The job of a submit."""

    type: Literal["accepted"]
    job: str
    ref: NotRequired[str]
    status: str


class EntryMessage(TypedDict):
    """An entry of a followed job."""

    type: Literal["entry"]
    job: str
    entry: EntryDocument


class Ended(TypedDict):
    """All of a followed job's log is sent."""

    type: Literal["ended"]
    job: str
    last: int


class BatchEntry(TypedDict):
    """An entry of a followed batch."""

    type: Literal["entry"]
    batch: str
    entry: BatchEntryDocument


class BatchEnded(TypedDict):
    """All of a followed batch's log is sent."""

    type: Literal["ended"]
    batch: str
    last: int


class BatchGap(GapMessage):
    """Entries of a followed batch are missing."""

    batch: str


class JobGap(GapMessage):
    """Entries of a followed job are missing."""

    job: str


class JobSnapshot(SnapshotDocument):
    """The answer of a followed job so far."""

    job: str


class JobQueued(Queued):
    """Why a followed job waits."""

    job: str


class ErrorMessage(TypedDict):
    """A message was refused, or a followed job cannot be read. With ``job`` after ``accepted``: the job runs."""

    type: Literal["error"]
    status: int
    detail: str
    title: NotRequired[str]
    problem: NotRequired[str]
    job: NotRequired[str]
    batch: NotRequired[str]
    ref: NotRequired[str]


SOCKET_RECEIVES = (CancelMessage,)
SOCKET_SENDS = (EntryDocument, GapMessage, Heartbeat, Notice, Queued, SnapshotDocument)
BATCH_SOCKET_SENDS = (BatchEntryDocument, GapMessage, Heartbeat, Notice)
MUX_RECEIVES = (Submit, Follow, FollowBatch, JobCommand, BatchCommand)
MUX_SENDS = (
    *(Accepted, EntryMessage, Ended, JobGap, JobQueued, Heartbeat, Notice, JobSnapshot, ErrorMessage),
    *(BatchEntry, BatchEnded, BatchGap),
)
