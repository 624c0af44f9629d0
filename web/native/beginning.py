"""The place where a reader begins in a log, and the snapshot that it may get instead of the entries before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from spool.jobs.entries import TERMINAL, Kind, decode_all
from spool.jobs.job import Job
from spool.jobs.log import Run
from web.arguments import LATEST, After, Query
from web.services import State

_ATTEMPTS = frozenset({Kind.STARTED, Kind.RESTARTED, Kind.CONTINUED})


class Beginning(After):
    """The query of a reader's begin."""

    snapshot: Literal["0", "1"] = Field(
        "0",
        description="`1`: without a cursor, the first message is the answer so far (`snapshot`), and the entries after "
        "it follow. Not with bare text, which is the answer itself.",
    )


class Heartbeats(Query):
    """The query of a stream, or of a socket with many."""

    heartbeat: Literal["comment", "event"] = Field(
        "comment",
        description="`event`: heartbeats are events or messages (`heartbeat`), which JavaScript can see. It shows a "
        "client that a silent connection is alive.",
    )


class StreamBeginning(Beginning, Heartbeats):
    """The query of a stream's begin."""


class ToolCall(TypedDict):
    """A tool call as far as it is known."""

    index: int
    call_id: str | None
    name: str | None
    arguments: str


class SnapshotDocument(TypedDict):
    """The answer as the entries up to ``last`` make it. The terminal entry is never part of it."""

    type: Literal["snapshot"]
    last: int
    attempt: int
    text: str
    reasoning: str
    tool_calls: list[ToolCall]
    usage: dict[str, Any] | None
    result: NotRequired[str]
    """The JSON text that the upstream answered, as far as it is known; only of a job whose answer is one."""


class Snapshot:
    """The fold of a log into a snapshot. It begins with the entries that count, of the job's current attempt."""

    def __init__(self, job: Job) -> None:
        self._last = 0
        self._attempt = job.attempt
        self._texts: dict[Kind, list[str]] = {Kind.TOKEN: [], Kind.REASONING: []}
        self._tool_calls: dict[int, ToolCall] = {}
        self._result: list[str] = []
        self._usage: dict[str, Any] | None = None
        self.size = 0

    def add_all(self, raws: Sequence[bytes]) -> None:
        """Add the next entries. Raises ``UndecodableRecord``."""
        for entry in decode_all(raws):
            if entry["kind"] not in TERMINAL:
                self._add(entry)
                self._last = entry["id"]
        self.size += sum(map(len, raws))

    def add_run(self, run: Run) -> bool:
        """Add a run of text."""
        self._texts[run.kind].append(run.text)
        self._last = run.last
        self.size += len(run.text)
        return True

    def document(self) -> SnapshotDocument:
        """The snapshot."""
        document: SnapshotDocument = {
            "type": "snapshot",
            "last": self._last,
            "attempt": self._attempt,
            "text": "".join(self._texts[Kind.TOKEN]),
            "reasoning": "".join(self._texts[Kind.REASONING]),
            "tool_calls": list(self._tool_calls.values()),
            "usage": self._usage,
        }
        if self._result:
            document["result"] = "".join(self._result)
        return document

    def _add(self, entry: dict[str, Any]) -> None:
        kind = entry["kind"]
        if kind in self._texts:
            self._texts[kind].append(entry["text"])
        elif kind == Kind.TOOL_CALL:
            self._add_to_call(entry)
        elif kind == Kind.RESULT:
            self._result.append(entry["body"])
        elif kind == Kind.USAGE:
            self._usage = {name: entry[name] for name in entry if name not in ("id", "kind", "at")}
        elif kind in _ATTEMPTS:
            self._attempt = entry["attempt"]
            if kind == Kind.RESTARTED:
                # The earlier attempt no longer counts.
                self._texts = {Kind.TOKEN: [], Kind.REASONING: []}
                self._tool_calls, self._result, self._usage = {}, [], None

    def _add_to_call(self, entry: dict[str, Any]) -> None:
        index = entry["index"]
        call = self._tool_calls.setdefault(index, {"index": index, "call_id": None, "name": None, "arguments": ""})
        call["call_id"] = call["call_id"] or entry["call_id"]
        call["name"] = call["name"] or entry["name"]
        call["arguments"] += entry["arguments"]


def beginning(
    services: State, job: Job, place: int, *, snapshot: bool, is_wanted: Callable[[], bool]
) -> tuple[int, SnapshotDocument | None]:
    """The cursor at which a reader of the job begins, and the snapshot that it gets first. ``place`` is a ``Place``;
    with a cursor of its own, a client has the entries before and gets no snapshot. Raises ``StoreUnavailable``, and
    like ``Folds.fold`` for a snapshot."""
    if snapshot and place == 0:
        document = _folded(services, job, is_wanted).document()
        return document["last"], document
    if place == LATEST:
        return job.last_entry, None
    if place < 0:
        return services.store.before_last(job.id, -place), None
    return place, None


def _folded(services: State, job: Job, is_wanted: Callable[[], bool]) -> Snapshot:
    into = Snapshot(job)
    first = max(0, job.attempt_first - 1)
    if job.ended:
        return services.folds.result(job, into, is_wanted, after=first)
    services.folds.fold(job, into, is_wanted, after=first)
    return into
