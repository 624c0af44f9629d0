"""Anthropic's stream events and messages: entries in, events or the whole message out.

https://docs.anthropic.com/en/api/messages-streaming. A message is a list of blocks, of which one is open at a time: a
tool call that begins before the one before it is complete waits until that closes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any, Literal, NotRequired, Self

import orjson
from typing_extensions import TypedDict

from spool.jobs.conversation import Answer, call_id_of
from spool.jobs.entries import Kind, is_mark
from spool.jobs.job import Job
from spool.jobs.waits import Wait
from web.anthropic.errors import document_of
from web.delivery.failures import CANCELLED, RESTARTED, failure_of
from web.entry_translation import EntryTranslation

PING = b'event: ping\ndata: {"type":"ping"}\n\n'
_STOPS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}
_REFUSAL = "refusal"
_CALL_BYTES = 64


class MessageUsage(TypedDict):
    """The tokens used."""

    input_tokens: int
    output_tokens: int
    cache_read_input_tokens: int
    cache_creation_input_tokens: int


class MessageDocument(TypedDict):
    """A message."""

    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    model: str
    content: Sequence[Mapping[str, Any]]
    stop_reason: str | None
    stop_sequence: str | None
    usage: MessageUsage


class MessageEvent(TypedDict):
    """One event of a stream. Its other fields depend on its type."""

    type: str
    index: NotRequired[int]


class MessageStream(EntryTranslation):
    """One stream."""

    name = "messages"

    def __init__(self, job: Job) -> None:
        self._job = job
        self._index = -1
        self._open: str | None = None
        self._call: int | None = None
        """The index of the call whose block is open."""
        self._arguments = ""
        """Its arguments so far."""
        self._waiting: dict[int, list[dict[str, Any]]] = {}
        """The pieces of calls that wait for the open block to close."""
        self._usage: Mapping[str, Any] | None = None
        self._refuses = False

    @property
    def format(self) -> str:
        """Its format: there is one."""
        return self.name

    @property
    def size(self) -> int:
        """Its approximate size in bytes."""
        return len(self._arguments) + sum([_CALL_BYTES * len(pieces) for pieces in self._waiting.values()])

    @property
    def parts(self) -> int:
        """The calls that ``fork`` copies."""
        return len(self._waiting)

    def fork(self) -> Self:
        """A copy that changes by itself."""
        other = copy(self)
        other._waiting = {index: list(pieces) for index, pieces in self._waiting.items()}
        return other

    def opening(self) -> bytes:
        """``message_start``, and a first ``ping`` as Anthropic sends it."""
        message = message_document(self._job, [], None, None)
        return _event({"type": "message_start", "message": message}) + PING

    def heartbeat(self) -> bytes:
        """A ``ping``."""
        return PING

    def queued(self, wait: Wait) -> bytes:
        """A comment line: the SDKs know no event for it."""
        return b": queued %b\n" % orjson.dumps(wait.message())

    def broken_off(self, code: str, message: str) -> bytes:
        """An error event, on which the SDKs raise."""
        return self._error({"code": code, "message": message})

    def _entry(self, entry: dict[str, Any]) -> bytes:
        match entry["kind"]:
            case Kind.TOKEN if is_mark(entry):
                self._refuses = self._refuses or bool(entry.get("refusal"))
            case Kind.TOKEN:
                return self._text("text", {"type": "text_delta", "text": entry["text"]})
            case Kind.REASONING:
                return self._text("thinking", {"type": "thinking_delta", "thinking": entry["text"]})
            case Kind.TOOL_CALL:
                return self._piece(entry)
            case Kind.USAGE:
                self._usage = entry
            case Kind.RESTARTED if self._index >= 0:
                return self._error(RESTARTED)
            case Kind.DONE:
                return self._end(entry["finish_reason"])
            case Kind.FAILED:
                return self._error(entry["error"])
            case Kind.CANCELLED:
                return self._error(CANCELLED)
        return b""

    def _text(self, kind: str, delta: Mapping[str, Any]) -> bytes:
        opening = b""
        if self._open != kind:
            opening = self._close_all() + self._begin(kind, empty_block(kind))
        return opening + self._delta(delta)

    def _piece(self, entry: dict[str, Any]) -> bytes:
        index = entry["index"]
        if index == self._call:
            return self._add_arguments(entry["arguments"])
        if self._waiting or (self._call is not None and not _is_json(self._arguments)):
            self._waiting.setdefault(index, []).append(entry)
            return b""
        return self._begin_call(entry)

    def _begin_call(self, entry: dict[str, Any]) -> bytes:
        block: dict[str, Any] = {
            "type": "tool_use",
            "id": call_id_of(self._job.id, entry),
            "name": entry["name"] or "",
            "input": {},
        }
        opening = self._close() + self._begin("tool_use", block)
        self._call = entry["index"]
        return opening + self._add_arguments(entry["arguments"])

    def _add_arguments(self, arguments: str) -> bytes:
        self._arguments += arguments
        return self._delta({"type": "input_json_delta", "partial_json": arguments}) if arguments else b""

    def _begin(self, kind: str, block: Mapping[str, Any]) -> bytes:
        self._index += 1
        self._open = kind
        return _event({"type": "content_block_start", "index": self._index, "content_block": block})

    def _delta(self, delta: Mapping[str, Any]) -> bytes:
        return _event({"type": "content_block_delta", "index": self._index, "delta": delta})

    def _close(self) -> bytes:
        if self._open is None:
            return b""
        self._open, self._call, self._arguments = None, None, ""
        return _event({"type": "content_block_stop", "index": self._index})

    def _close_all(self) -> bytes:
        """Close the open block, and add those of the calls that wait."""
        data = self._close()
        waiting, self._waiting = self._waiting, {}
        for first, *more in waiting.values():
            data += self._begin_call(first) + b"".join([self._add_arguments(piece["arguments"]) for piece in more])
        return data + self._close()

    def _end(self, finish_reason: str) -> bytes:
        data = self._close_all()
        self.over = True
        delta = {"stop_reason": _REFUSAL if self._refuses else stop_reason(finish_reason), "stop_sequence": None}
        return (
            data
            + _event({"type": "message_delta", "delta": delta, "usage": usage_of(self._usage)})
            + _event({"type": "message_stop"})
        )

    def _error(self, error: Mapping[str, Any]) -> bytes:
        self.over = True
        return _event(document_of(failure_of(error)))


def message(job: Job, answer: Answer) -> dict[str, Any]:
    """The whole message of a finished answer."""
    content: list[dict[str, Any]] = []
    if answer.reasoning:
        content.append({**empty_block("thinking"), "thinking": answer.reasoning})
    if answer.text:
        content.append({"type": "text", "text": answer.text})
    for call in answer.calls.values():
        content.append({"type": "tool_use", "id": call.call_id, "name": call.name, "input": _input(call.arguments)})
    document = message_document(job, content, answer.finish_reason, answer.usage)
    return {**document, "stop_reason": _REFUSAL} if answer.refuses else dict(document)


def message_document(
    job: Job, content: Sequence[Mapping[str, Any]], finish_reason: str | None, usage: Mapping[str, Any] | None
) -> MessageDocument:
    """The message, whole or before its first block."""
    return {
        "id": f"msg_{job.id}",
        "type": "message",
        "role": "assistant",
        "model": job.model,
        "content": content,
        "stop_reason": stop_reason(finish_reason) if finish_reason else None,
        "stop_sequence": None,
        "usage": usage_of(usage),
    }


def empty_block(kind: str) -> dict[str, Any]:
    """A block of text or thinking at its start. Other models sign no thinking."""
    return {"type": "text", "text": ""} if kind == "text" else {"type": "thinking", "thinking": "", "signature": ""}


def stop_reason(finish_reason: str) -> str:
    """The reason for the end, in Anthropic's words."""
    return _STOPS.get(finish_reason, "end_turn")


def usage_of(usage: Mapping[str, Any] | None) -> MessageUsage:
    """A ``usage`` entry in Anthropic's fields, where cached tokens stand beside the input; zeros if there is none."""
    used = usage or {"input_tokens": 0, "output_tokens": 0}
    cached = used.get("cached_tokens") or 0
    return {
        "input_tokens": max(0, used["input_tokens"] - cached),
        "output_tokens": used["output_tokens"],
        "cache_read_input_tokens": cached,
        "cache_creation_input_tokens": 0,
    }


def _input(arguments: str) -> Any:
    try:
        return orjson.loads(arguments or "{}")
    except orjson.JSONDecodeError:
        # The shape has no place for text: the tool then sees what the model wrote.
        return {"arguments": arguments}


def _is_json(text: str) -> bool:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True


def _event(document: Mapping[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (document["type"].encode(), orjson.dumps(document))
