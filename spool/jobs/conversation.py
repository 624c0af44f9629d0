"""A conversation: the model's input, the answer assembled from a log, and the message for the next turn.

Messages are in OpenAI's chat shape. A job's stored input (``spool.keys``) and the blocks before it hold the whole
conversation. A turn therefore needs none of the earlier jobs, which may have expired.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from spool.errors import UndecodableRecord
from spool.growing_text import GrowingText
from spool.jobs.conversation_blocks import join
from spool.jobs.entries import Kind, decode_all, is_mark
from spool.jobs.input_packing import unpack_input
from spool.jobs.log import Run


def given(stored: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The model's messages for this stored input. Instructions come first and apply to this turn only."""
    instructions = stored.get("instructions")
    before = [{"role": "system", "content": instructions}] if instructions else []
    return [*before, *stored["messages"]]


def read_input(raw: bytes, blocks: Callable[[], Sequence[bytes]]) -> dict[str, Any]:
    """A job's input with its whole conversation. ``blocks`` reads the blocks before it, last block first. Raises
    ``ValueError`` or ``TypeError`` for an invalid input, or if a block is missing or damaged."""
    stored = orjson.loads(unpack_input(raw))
    if not isinstance(stored, dict) or not isinstance(stored.get("messages"), list):
        raise TypeError("the input has no list of messages")
    before = stored.pop("before", "")
    if before:
        stored["messages"] = [*join(before, blocks()), *stored["messages"]]
    return stored


@dataclass(slots=True)
class ToolCall:
    """One tool call, possibly still incomplete. ``pieces`` is the text of its arguments so far."""

    call_id: str
    name: str
    pieces: GrowingText = field(default_factory=GrowingText)

    @property
    def arguments(self) -> str:
        """The arguments as text: JSON once the call is complete."""
        return str(self.pieces)

    def message(self) -> dict[str, Any]:
        """The call as an item of a message's ``tool_calls``."""
        return {"id": self.call_id, "type": "function", "function": {"name": self.name, "arguments": self.arguments}}


@dataclass(slots=True)
class Answer:
    """The answer assembled from the entries of a job's log. ``usage``, ``finish_reason`` and ``error`` are as in the
    entries; ``end`` is the terminal entry's kind, None before the end."""

    job_id: str
    calls: dict[int, ToolCall] = field(default_factory=dict)
    usage: Mapping[str, Any] | None = None
    finish_reason: str | None = None
    error: Mapping[str, Any] | None = None
    end: Kind | None = None
    refuses: bool = False
    """Its text is a refusal."""
    annotations: list[Mapping[str, Any]] = field(default_factory=list)
    """Annotations of its text, in the shape of chat completions."""
    logprobs: list[Mapping[str, Any]] = field(default_factory=list)
    """Log probabilities of its tokens, in the shape of chat completions, if the request asked for them."""
    _text: GrowingText = field(default_factory=GrowingText)
    _reasoning: GrowingText = field(default_factory=GrowingText)
    _result: GrowingText = field(default_factory=GrowingText)

    def add_all(self, raws: Sequence[bytes]) -> None:
        """Add the next encoded entries. Raises ``UndecodableRecord``."""
        for entry in decode_all(raws):
            try:
                self._add(entry, entry["kind"])
            except (KeyError, TypeError) as exc:
                raise UndecodableRecord("entry", entry) from exc

    def add_run(self, run: Run) -> bool:
        """Add a run of entries of one kind at once. Always returns True: an answer supports this."""
        (self._text if run.kind is Kind.TOKEN else self._reasoning).add(run.text)
        return True

    @property
    def text(self) -> str:
        """The answer's text."""
        return str(self._text)

    @property
    def reasoning(self) -> str:
        """The model's reasoning before the answer."""
        return str(self._reasoning)

    @property
    def result(self) -> str:
        """The JSON text that the upstream answered, of a job whose answer is one; empty for any other."""
        return str(self._result)

    @property
    def size(self) -> int:
        """The length of its text, its result and its calls' arguments, in characters."""
        return self._text.size + self._result.size + sum(call.pieces.size for call in self.calls.values())

    def message(self, *, keeps_reasoning: bool = False) -> dict[str, Any] | None:
        """The answer as a message of the conversation; None if it is empty. Its reasoning is part of it if it calls
        tools, because models that think between calls want that back, or with ``keeps_reasoning``."""
        if not self.text and not self.calls:
            return _first_message(self.result) if self.result else None
        message: dict[str, Any] = {"role": "assistant", "content": self.text or None}
        if self.calls:
            message["tool_calls"] = [call.message() for call in self.calls.values()]
        if self.reasoning and (self.calls or keeps_reasoning):
            message["reasoning_content"] = self.reasoning
        return message

    def _add(self, entry: dict[str, Any], kind: str) -> None:
        match kind:
            case Kind.TOKEN:
                self._text.add(entry["text"])
                if is_mark(entry):
                    self.refuses = self.refuses or bool(entry.get("refusal"))
                    self.annotations += entry.get("annotations") or ()
                    self.logprobs += entry.get("logprobs") or ()
            case Kind.REASONING:
                self._reasoning.add(entry["text"])
            case Kind.TOOL_CALL:
                self._add_call(entry)
            case Kind.RESULT:
                self._result.add(entry["body"])
            case Kind.RESTARTED:
                self._text.clear()
                self._result.clear()
                self._reasoning.clear()
                self.calls.clear()
                self.refuses = False
                self.annotations.clear()
                self.logprobs.clear()
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


def _first_message(result: str) -> dict[str, Any] | None:
    """The first of several answers to one conversation; None if the result is something else."""
    try:
        message = orjson.loads(result)["choices"][0]["message"]
        return {"role": "assistant", **{name: message[name] for name in ("content", "tool_calls") if message.get(name)}}
    except (orjson.JSONDecodeError, LookupError, TypeError, AttributeError):
        return None


def call_id_of(job_id: str, entry: Mapping[str, Any]) -> str:
    """The id of the tool call that a ``tool_call`` entry begins. It is generated if the server gave none."""
    return entry["call_id"] or f"call_{job_id}_{entry['index']}"
