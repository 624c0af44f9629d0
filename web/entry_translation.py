"""What translations have in common that take one entry after the other."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from copy import copy
from dataclasses import replace
from typing import Any, Self

from spool.jobs.conversation import ToolCall, call_id_of
from spool.jobs.entries import decode_all
from spool.jobs.job import Job
from spool.jobs.log import Row

CALL_BYTES = 512
"""The memory of a tool call, without its arguments."""


class EntryTranslation(ABC):
    """A ``Translation`` of one entry at a time. Its events have no numbers, unless a subclass counts them."""

    after = -1
    number = 0
    over = False

    def rest(self, data: bytes) -> bytes:
        """``data``: events without numbers are never left out."""
        return data

    def opening(self) -> bytes:
        """Nothing."""
        return b""

    def entries(self, rows: list[Row]) -> bytes:
        """The events of these entries. A terminal entry also adds the end of the stream."""
        entries = decode_all([raw for _entry_id, raw in rows])
        return b"".join([self._entry(entry) for entry in entries if not self.over])

    def page(self, rows: list[Row]) -> bytes:
        """The same: a repeated request gets the bytes of the first one."""
        return self.entries(rows)

    @abstractmethod
    def _entry(self, entry: dict[str, Any]) -> bytes: ...


class WholeCalls(EntryTranslation):
    """A translation that keeps the tool calls, because it sends them whole once the answer is done."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.calls: dict[int, ToolCall] = {}

    @property
    def size(self) -> int:
        """Its approximate size in bytes."""
        return sum([CALL_BYTES + call.pieces.size for call in self.calls.values()])

    @property
    def parts(self) -> int:
        """The calls that ``fork`` copies."""
        return len(self.calls)

    def fork(self) -> Self:
        """A copy that changes by itself; the arguments of its calls are shared."""
        other = copy(self)
        other.calls = {index: replace(call, pieces=call.pieces.fork()) for index, call in self.calls.items()}
        return other

    def call_of(self, entry: Mapping[str, Any]) -> tuple[ToolCall, bool]:
        """The call of this piece, and whether it begins with it."""
        call = self.calls.get(entry["index"])
        if call is not None:
            return call, False
        call = self.calls[entry["index"]] = ToolCall(call_id_of(self.job.id, entry), entry["name"] or "")
        return call, True
