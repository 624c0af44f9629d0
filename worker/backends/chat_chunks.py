"""The chunks of a streamed chat completion in, pieces out. Does no I/O.

Every server that calls itself OpenAI-compatible has chunks of its own: reasoning is ``reasoning_content``
(DeepSeek, vLLM, llama.cpp) or ``reasoning`` (Ollama, OpenRouter), usage comes with the last choice or after
it, an error is an object or a text. Only choice 0 is read. What has the wrong type is ``Garbage``; what is not
known is skipped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from worker.backends import Finish, Piece, Reasoning, Text, ToolCall, Usage

DONE = b"[DONE]"
_FINISH = {
    "max_tokens": "length",
    "model_length": "length",
    "function_call": "tool_calls",
    "tool_calls": "tool_calls",
    "length": "length",
    "content_filter": "content_filter",
}
_BESIDE_TEXT = ("reasoning_content", "reasoning", "tool_calls")
_BROKEN_OFF = {"abort", "error", "insufficient_system_resource"}


class Garbage(ValueError):
    """What came is no chunk of a chat completion."""


class ErrorInStream(Exception):
    """The upstream put an error into the stream. ``status``: the HTTP status that it names, or 0."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class Answer:
    """One answer as far as it came. ``began``: a piece of it has been yielded. ``ended``: it is whole."""

    __slots__ = ("_called_tools", "_reason", "_usage", "began", "done")

    def __init__(self) -> None:
        self.began = False
        self.done = False
        self._reason: str | None = None
        self._usage: Usage | None = None
        self._called_tools = False

    @property
    def ended(self) -> bool:
        """Whether the upstream said so: with a finish reason, or with ``[DONE]``."""
        return self.done or self._reason is not None

    def feed(self, data: bytes) -> Iterable[Piece]:
        """The pieces in the data of one event. Raises ``Garbage`` and ``ErrorInStream``, also while iterated."""
        if data == DONE:
            self.done = True
            return ()
        chunk = _object(_parsed(data))
        text = _only_text(chunk)
        if text is None:
            return self._pieces(chunk)
        self.began = True
        return (Text(text),)

    def _pieces(self, chunk: dict[str, Any]) -> Iterator[Piece]:
        if chunk.get("error"):
            raise _error(chunk["error"])
        if chunk.get("usage"):
            self._usage = _usage(_object(chunk["usage"])) or self._usage
        for choice in chunk.get("choices") or ():
            if _object(choice).get("index", 0) == 0:
                yield from self._choice(choice)

    def finish(self) -> Iterator[Piece]:
        """What follows the last piece of an answer that has ended."""
        if self._usage:
            yield self._usage
        reason = self._reason or ("tool_calls" if self._called_tools else "stop")
        yield Finish(_FINISH.get(reason, "stop"))

    def _choice(self, choice: dict[str, Any]) -> Iterator[Piece]:
        delta = choice.get("delta")
        if delta:
            for piece in self._delta(_object(delta)):
                self.began = True
                yield piece
        reason = choice.get("finish_reason")
        if reason in _BROKEN_OFF:
            raise ErrorInStream(0, f"it broke the answer off ({reason})")
        if reason:
            self._reason = _text(reason)

    def _delta(self, delta: dict[str, Any]) -> Iterator[Piece]:
        if thought := delta.get("reasoning_content") or delta.get("reasoning"):
            yield Reasoning(_text(thought))
        if text := delta.get("content") or delta.get("refusal"):
            yield Text(_text(text))
        for place, call in enumerate(delta.get("tool_calls") or ()):
            self._called_tools = True
            yield _tool_call(_object(call), place)


def _parsed(data: bytes) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as exc:
        raise Garbage("an event is no JSON") from exc


def _only_text(chunk: dict[str, Any]) -> str | None:
    """The text of a chunk in which nothing else is to be read, as in nearly every one; None for any other chunk."""
    choices = chunk.get("choices")
    if type(choices) is not list or len(choices) != 1 or chunk.get("error") or chunk.get("usage"):
        return None
    choice = choices[0]
    if type(choice) is not dict or choice.get("finish_reason") or choice.get("index", 0) != 0:
        return None
    delta = choice.get("delta")
    if type(delta) is not dict or (len(delta) > 1 and any(map(delta.get, _BESIDE_TEXT))):
        return None
    text = delta.get("content")
    return text if type(text) is str and text else None


def _object(value: Any) -> dict[str, Any]:
    if type(value) is not dict:
        raise Garbage(f"{type(value).__name__} where an object should be")
    return value


def _text(value: Any) -> str:
    if type(value) is not str:
        raise Garbage(f"{type(value).__name__} where text should be")
    return value


def _tool_call(call: dict[str, Any], place: int) -> ToolCall:
    function = _object(call.get("function") or {})
    arguments = function.get("arguments") or ""
    if type(arguments) is dict:
        arguments = orjson.dumps(arguments).decode()
    index = call.get("index")
    return ToolCall(
        index=index if type(index) is int else place,
        call_id=call.get("id"),
        name=function.get("name"),
        arguments=_text(arguments),
    )


def _usage(usage: dict[str, Any]) -> Usage | None:
    counts = usage.get("prompt_tokens"), usage.get("completion_tokens")
    if type(counts[0]) is not int or type(counts[1]) is not int:
        return None
    return Usage(
        input_tokens=counts[0],
        output_tokens=counts[1],
        cached_tokens=_detail(usage.get("prompt_tokens_details"), "cached_tokens"),
        reasoning_tokens=_detail(usage.get("completion_tokens_details"), "reasoning_tokens"),
    )


def _detail(details: Any, name: str) -> int | None:
    count = details.get(name) if type(details) is dict else None
    return count if type(count) is int else None


def _error(error: Any) -> ErrorInStream:
    if type(error) is not dict:
        return ErrorInStream(0, str(error))
    message = error.get("message") or error.get("type") or "no reason given"
    for name in ("code", "status", "status_code", "http_status_code"):
        if str(error.get(name, "")).isdecimal():
            return ErrorInStream(int(error[name]), str(message))
    return ErrorInStream(0, str(message))
