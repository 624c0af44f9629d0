"""One job's log as this reader has it: the cursor, the text that counts, and what the record adds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spool_client.documents import ENDS, Document, Entry, Job, JobError, Message, has_ended

_MESSAGES = frozenset({"gap", "snapshot", "queued", "notice"})


class JobLog:
    """Documents of any transport in, new ones out."""

    def __init__(self, after: int = 0) -> None:
        self.cursor = after
        """The id of the last entry that this reader has."""
        self.status = "queued"
        self.attempt = 0
        self.text = ""
        self.reasoning = ""
        self.usage: dict[str, Any] | None = None
        self.finish_reason: str | None = None
        self.error: JobError | None = None
        self.is_ended = False
        self.is_incomplete = False
        """Whether entries are missing here: the server had lost them, or only the record was let through."""
        self.lacks_text = False
        """Whether text is missing too, until the record brings it."""

    def take(self, document: Mapping[str, Any]) -> Document | None:
        """One document of a stream; the entry or message if it is new to this reader."""
        if "kind" in document:
            return self._entry(document)
        name, fields = document.get("type", ""), {key: value for key, value in document.items() if key != "type"}
        if name not in _MESSAGES:
            return None
        if name == "snapshot":
            return self._snapshot(fields)
        if name == "gap":
            self._gap(document)
        return Message(name, fields)

    def see(self, job: Job) -> None:
        """The record of a job that runs. It knows the status while the log is silent."""
        if not self.is_ended and not has_ended(job["status"]) and job["last_entry"] <= self.cursor:
            self.status = job["status"]

    def adopt(self, job: Job) -> Message | None:
        """The record's text, as a snapshot."""
        last = max(job["last_entry"], self.cursor)
        return self._snapshot({"last": last, "text": job.get("text", ""), "attempt": job["attempt"]})

    def finish(self, job: Job) -> Message | None:
        """End by the record: the log itself has nothing more for this reader."""
        is_behind = job["last_entry"] > self.cursor or self.lacks_text
        snapshot = self.adopt(job) if is_behind else None
        self.status, self.error, self.finish_reason = job["status"], job["error"], job["finish_reason"]
        self.usage = job["usage"] or self.usage
        self.is_ended = True
        return snapshot

    def _entry(self, document: Mapping[str, Any]) -> Entry | None:
        fields = dict(document)
        entry = Entry(int(fields.pop("id")), str(fields.pop("kind")), str(fields.pop("at", "")), fields)
        if entry.id <= self.cursor:
            return None
        self.cursor = entry.id
        self._apply(entry)
        return entry

    def _apply(self, entry: Entry) -> None:
        """An unknown kind moves the cursor and changes nothing else."""
        fields = entry.fields
        self.status = ENDS.get(entry.kind, "running")
        self.is_ended = entry.is_terminal
        if entry.kind in ("started", "continued", "restarted"):
            self.attempt = int(fields.get("attempt", self.attempt))
        if entry.kind == "restarted":
            self.text = self.reasoning = ""
            self.usage = None
            self.is_incomplete = self.lacks_text = False
        elif entry.kind == "token":
            self.text += entry.text
        elif entry.kind == "reasoning":
            self.reasoning += entry.text
        elif entry.kind == "usage":
            self.usage = dict(fields)
        elif entry.kind == "done":
            self.finish_reason = fields.get("finish_reason")
        elif entry.kind == "failed":
            self.error = fields.get("error")

    def _snapshot(self, fields: Mapping[str, Any]) -> Message | None:
        """None if this reader is already as far and misses nothing."""
        last = int(fields["last"])
        if last < self.cursor or (last == self.cursor and not self.lacks_text):
            return None
        self.cursor, self.text, self.lacks_text = last, str(fields["text"]), False
        self.attempt = int(fields.get("attempt", self.attempt))
        if "reasoning" in fields:
            self.reasoning = str(fields["reasoning"])
        else:
            self.is_incomplete = True
        return Message("snapshot", fields)

    def _gap(self, document: Mapping[str, Any]) -> None:
        earliest, latest = document.get("earliest"), document.get("latest")
        if earliest is None:
            earliest = latest if latest is not None and latest <= self.cursor else document.get("requested", 0)
        self.cursor = int(earliest) - 1
        self.is_incomplete = self.lacks_text = True
