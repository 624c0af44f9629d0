"""A conversation: what a model is given, what its answer adds up to, and how the next turn goes on from there.

Messages are in OpenAI's chat shape. The stored input of a job (``spool.keys``) and the blocks before it hold the whole
conversation up to it, so that a turn needs none of the earlier jobs, which may be gone by then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from spool.errors import UndecodableRecord
from spool.growing_text import GrowingText
from spool.jobs.conversation_blocks import join
from spool.jobs.entries import Kind, decode_all
from spool.jobs.log import Run


def given(stored: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The messages that the model gets for this stored input. Instructions come first and are of this turn alone."""
    instructions = stored.get("instructions")
    before = [{"role": "system", "content": instructions}] if instructions else []
    return [*before, *stored["messages"]]


def read_input(raw: bytes, blocks: Callable[[], Sequence[bytes]]) -> dict[str, Any]:
    """A job's input with its whole conversation. ``blocks`` reads those before it, the last one first. Raises
    ``ValueError`` or ``TypeError`` for what is no input, or where a block is missing or damaged."""
    stored = orjson.loads(raw)
    if not isinstance(stored, dict) or not isinstance(stored.get("messages"), list):
        raise TypeError("no prompt")
    before = stored.pop("before", "")
    if before:
        stored["messages"] = [*join(before, blocks()), *stored["messages"]]
    return stored


@dataclass(slots=True)
class ToolCall:
    """One tool call, as far as it came: ``pieces`` of its arguments."""

    call_id: str
    name: str
    pieces: GrowingText = field(default_factory=GrowingText)

    @property
    def arguments(self) -> str:
        """JSON text, once it is whole."""
        return str(self.pieces)

    def message(self) -> dict[str, Any]:
        """The call in a message's ``tool_calls``."""
        return {"id": self.call_id, "type": "function", "function": {"name": self.name, "arguments": self.arguments}}


@dataclass(slots=True)
class Answer:
    """What the entries of a job's log add up to. ``usage``, ``finish_reason`` and ``error`` are as in the entries;
    ``end`` is the terminal entry's kind, None while there is none."""

    job_id: str
    calls: dict[int, ToolCall] = field(default_factory=dict)
    usage: Mapping[str, Any] | None = None
    finish_reason: str | None = None
    error: Mapping[str, Any] | None = None
    end: Kind | None = None
    _text: GrowingText = field(default_factory=GrowingText)
    _reasoning: GrowingText = field(default_factory=GrowingText)

    def add_all(self, raws: Sequence[bytes]) -> None:
        """Take the next encoded entries. Raises ``UndecodableRecord``."""
        for entry in decode_all(raws):
            try:
                self._add(entry, entry["kind"])
            except (KeyError, TypeError) as exc:
                raise UndecodableRecord("entry", entry) from exc

    def add_run(self, run: Run) -> bool:
        """Take entries of one kind at once. True: it can."""
        (self._text if run.kind is Kind.TOKEN else self._reasoning).add(run.text)
        return True

    @property
    def text(self) -> str:
        """The answer's text."""
        return str(self._text)

    @property
    def reasoning(self) -> str:
        """What the model thought before it."""
        return str(self._reasoning)

    @property
    def size(self) -> int:
        """How long its text and the arguments of its calls are, in characters."""
        return self._text.size + sum(call.pieces.size for call in self.calls.values())

    def message(self) -> dict[str, Any] | None:
        """The answer as a message of the conversation; None if it is empty."""
        if not self.text and not self.calls:
            return None
        message: dict[str, Any] = {"role": "assistant", "content": self.text or None}
        if self.calls:
            message["tool_calls"] = [call.message() for call in self.calls.values()]
        return message

    def _add(self, entry: dict[str, Any], kind: str) -> None:
        match kind:
            case Kind.TOKEN:
                self._text.add(entry["text"])
            case Kind.REASONING:
                self._reasoning.add(entry["text"])
            case Kind.TOOL_CALL:
                self._add_call(entry)
            case Kind.RESTARTED:
                self._text.clear()
                self._reasoning.clear()
                self.calls.clear()
                self.usage = None
            case Kind.USAGE:
                self.usage = entry
            case Kind.DONE:
                self.end, self.finish_reason = Kind.DONE, entry["finish_reason"]
            case Kind.FAILED:
                self.end, self.error = Kind.FAILED, entry["error"]
            case Kind.CANCELLED:
                self.end = Kind.CANCELLED

    def _add_call(self, entry: dict[str, Any]) -> None:
        index = entry["index"]
        call = self.calls.get(index)
        if call is None:
            call = self.calls[index] = ToolCall(call_id_of(self.job_id, entry), entry["name"] or "")
        call.pieces.add(entry["arguments"])


def call_id_of(job_id: str, entry: Mapping[str, Any]) -> str:
    """The id of the tool call that a ``tool_call`` entry begins; not every server gives its calls one."""
    return entry["call_id"] or f"call_{job_id}_{entry['index']}"
