"""Decodes the chunks of a streamed chat completion into pieces. Does no I/O.

OpenAI-compatible servers differ in their chunks. Reasoning is ``reasoning_content`` (DeepSeek, vLLM, llama.cpp) or
``reasoning`` (Ollama, OpenRouter). Usage comes with the last choice or after it. An error is an object or a text. Only
choice 0 is read. A wrong type raises ``Garbage``; unknown fields are skipped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from worker.backends import Alive, File, Finish, Piece, Reasoning, Text, TextMark, ToolCall, Usage
from worker.backends.openai import json_bounds
from worker.backends.openai.audio import Audio, NoAudio, TooMuchAudio
from worker.backends.openai.pictures import NoPicture, picture_of

DONE = b"[DONE]"
MAX_TOOL_CALLS = 1000
MAX_ANNOTATIONS = 1000
"""Limits for one answer."""
_SAID_CHARACTERS = 4000
_FINISH = {
    "max_tokens": "length",
    "model_length": "length",
    "function_call": "tool_calls",
    "tool_calls": "tool_calls",
    "length": "length",
    "content_filter": "content_filter",
}
MAX_PICTURES = 16
"""Pictures in one answer."""
_BESIDE_TEXT = ("reasoning_content", "reasoning", "tool_calls", "annotations", "images", "audio")
_STATUS_OF = {
    "rate_limit_exceeded": 429,
    "rate_limit_error": 429,
    "tokens": 429,
    "requests": 429,
    "overloaded_error": 503,
    "server_overloaded": 503,
    "engine_overloaded": 503,
    "service_unavailable": 503,
    "server_error": 500,
    "internal_error": 500,
    "internal_server_error": 500,
    "api_error": 500,
    "InternalServerError": 500,
    "insufficient_quota": 429,
    "invalid_api_key": 401,
    "model_not_found": 404,
    "context_length_exceeded": 400,
    "invalid_request_error": 400,
    "BadRequestError": 400,
    "content_filter": 400,
}
"""HTTP statuses for the codes and types of errors without a status."""
_BROKEN_OFF = {"abort", "error", "insufficient_system_resource"}


class Garbage(ValueError):
    """The data is not a chunk of a chat completion."""


class NotKept(Exception):
    """The answer has a part that the log cannot hold."""


class ErrorInStream(Exception):
    """The upstream sent an error with status 200. ``status``: the HTTP status that it names or implies, or 0; ``code``:
    its own code; ``kind`` and ``param``: its type and the parameter at fault, if it names them."""

    def __init__(
        self, status: int, message: str, code: str = "", *, kind: str | None = None, param: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.kind = kind
        self.param = param


class Answer:
    """One answer, as far as it has arrived. ``began``: a piece has been yielded. ``ended``: it is complete.
    ``audio_format`` is that which the request asks for."""

    __slots__ = (
        *("_annotations", "_audio", "_audio_format", "_calls", "_pictures", "_reason", "_refuses", "_usage"),
        *("began", "complete", "done"),
    )

    def __init__(self, audio_format: str = "") -> None:
        self.began = False
        self.complete = False
        """Its finish reason has arrived."""
        self.done = False
        self._reason: str | None = None
        self._usage: Usage | None = None
        self._calls: set[int] = set()
        self._refuses = False
        self._annotations = 0
        self._audio: Audio | None = None
        self._audio_format = audio_format
        self._pictures = 0

    @property
    def ended(self) -> bool:
        """Whether the upstream has ended it, with a finish reason or with ``[DONE]``."""
        return self.done or self.complete

    def feed(self, data: bytes) -> Iterable[Piece]:
        """The pieces in the data of one event. Raises ``Garbage``, ``NotKept`` and ``ErrorInStream``, also during
        iteration."""
        if data == DONE:
            self.done = True
            return ()
        return self.feed_chunk(_object(_parsed(data)))

    def feed_chunk(self, chunk: dict[str, Any]) -> Iterable[Piece]:
        """The pieces in one chunk. Raises as ``feed`` does."""
        text = _only_text(chunk)
        if text is None:
            return self._pieces(chunk)
        self.began = True
        return (Text(text),)

    def _pieces(self, chunk: dict[str, Any]) -> Iterator[Piece]:
        if chunk.get("error"):
            raise error_of(chunk["error"])
        if chunk.get("usage"):
            self._usage = _usage(_object(chunk["usage"])) or self._usage
        for choice in _list(chunk.get("choices")):
            if _object(choice).get("index", 0) == 0:
                yield from self._choice(choice)

    @property
    def finish_reason(self) -> str:
        """Why the answer has ended."""
        reason = self._reason or ("tool_calls" if self._calls else "stop")
        return _FINISH.get(reason, "stop")

    def finish(self) -> Iterator[Piece]:
        """Yield the usage, if any, and the ``Finish`` of an answer that has ended."""
        yield from self._sound()
        if self._usage:
            yield self._usage
        yield Finish(self.finish_reason)

    def _choice(self, choice: dict[str, Any]) -> Iterator[Piece]:
        delta = choice.get("delta")
        if delta:
            for piece in self._delta(_object(delta)):
                self.began = True
                yield piece
        elif text := choice.get("text"):
            # A completion of the older kind.
            self.began = True
            yield Text(_text(text))
        logprobs = choice.get("logprobs")
        # A server of completions of the older kind, or an odd one, may send another shape.
        if isinstance(logprobs, dict) and (tokens := logprobs.get("content")):
            yield TextMark(logprobs=[_object(token) for token in _list(tokens)])
        reason = choice.get("finish_reason")
        if reason in _BROKEN_OFF:
            raise ErrorInStream(0, f"the upstream aborted the answer ({reason})")
        if reason:
            # With the reason and not at the end: a stream that breaks off after it is complete.
            yield from self._sound()
            self._reason = _text(reason)
            self.complete = True

    def _delta(self, delta: dict[str, Any]) -> Iterator[Piece]:
        if thought := delta.get("reasoning_content") or delta.get("reasoning"):
            yield Reasoning(_text(thought))
        if text := delta.get("content"):
            yield Text(_text(text))
        elif refusal := delta.get("refusal"):
            if not self._refuses:
                self._refuses = True
                yield TextMark(refuses=True)
            yield Text(_text(refusal))
        if annotations := _list(delta.get("annotations")):
            self._annotations += len(annotations)
            if self._annotations > MAX_ANNOTATIONS:
                raise Garbage(f"more than {MAX_ANNOTATIONS} annotations")
            yield TextMark(annotations=[_object(annotation) for annotation in annotations])
        for picture in _list(delta.get("images")):
            yield self._picture(picture)
        if audio := delta.get("audio"):
            yield self._heard(audio)
        for place, call in enumerate(_list(delta.get("tool_calls"))):
            piece = _tool_call(_object(call), place)
            self._calls.add(piece.index)
            if len(self._calls) > MAX_TOOL_CALLS:
                raise Garbage(f"more than {MAX_TOOL_CALLS} tool calls")
            yield piece

    def _heard(self, value: Any) -> Text | Alive:
        """The transcript of a piece of audio; a sign of life for one that has none."""
        if self._audio is None:
            self._audio = Audio(self._audio_format)
        try:
            transcript = self._audio.add(value)
        except NoAudio as exc:
            raise Garbage(str(exc)) from exc
        except TooMuchAudio as exc:
            raise NotKept(str(exc)) from exc
        return Text(transcript) if transcript else Alive()

    def _sound(self) -> Iterator[File]:
        """The audio, once."""
        if self._audio is not None and (file := self._audio.file()) is not None:
            yield file

    def _picture(self, value: Any) -> File | Text:
        self._pictures += 1
        if self._pictures > MAX_PICTURES:
            raise Garbage(f"more than {MAX_PICTURES} pictures")
        try:
            return picture_of(value)
        except NoPicture as exc:
            raise Garbage(str(exc)) from exc


def _parsed(data: bytes) -> Any:
    try:
        json_bounds.check(data)
        return orjson.loads(data)
    except json_bounds.TooMuch as exc:
        raise Garbage(f"an event with {exc}") from exc
    except orjson.JSONDecodeError as exc:
        raise Garbage("an event is not valid JSON") from exc


def _only_text(chunk: dict[str, Any]) -> str | None:
    """The text of a chunk that contains only text, as nearly every chunk does; None for any other chunk."""
    choices = chunk.get("choices")
    if type(choices) is not list or len(choices) != 1 or chunk.get("error") or chunk.get("usage"):
        return None
    choice = choices[0]
    if type(choice) is not dict or choice.get("finish_reason") or choice.get("index", 0) or choice.get("logprobs"):
        return None
    delta = choice.get("delta")
    if type(delta) is not dict or (len(delta) > 1 and any(map(delta.get, _BESIDE_TEXT))):
        return None
    text = delta.get("content")
    return text if type(text) is str and text else None


def _object(value: Any) -> dict[str, Any]:
    if type(value) is not dict:
        raise Garbage(f"{type(value).__name__} instead of an object")
    return value


def _list(value: Any) -> list[Any]:
    if value is None or type(value) is list:
        return value or []
    raise Garbage(f"{type(value).__name__} instead of a list")


def _text(value: Any) -> str:
    if type(value) is not str:
        raise Garbage(f"{type(value).__name__} instead of a string")
    return value


def _tool_call(call: dict[str, Any], place: int) -> ToolCall:
    function = _object(call.get("function") or {})
    arguments = function.get("arguments") or ""
    if type(arguments) is dict:
        arguments = _dumped(arguments)
    index = call.get("index")
    return ToolCall(
        index=index if type(index) is int else place,
        call_id=_text(call["id"]) if call.get("id") is not None else None,
        name=_text(function["name"]) if function.get("name") is not None else None,
        arguments=_text(arguments),
    )


def _dumped(arguments: dict[str, Any]) -> str:
    try:
        return orjson.dumps(arguments).decode()
    except orjson.JSONEncodeError as exc:
        # orjson reads deeper nesting than it writes.
        raise Garbage("the arguments of a tool call are nested too deeply") from exc


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


def error_of(error: Any) -> ErrorInStream:
    """The error in an upstream's error object, or in the value sent in its place."""
    if type(error) is not dict:
        return ErrorInStream(0, _first_of(error))
    message = _first_of(error.get("message") or error.get("type") or "no reason given")
    words = [word for word in (error.get("code"), error.get("type")) if type(word) is str and not word.isdecimal()]
    code = words[0] if words else ""
    kind, param = (value if type(value) is str else None for value in (error.get("type"), error.get("param")))
    for name in ("code", "status", "status_code", "http_status_code"):
        value = error.get(name)
        if type(value) in (int, str) and re.fullmatch("[1-5][0-9]{2}", str(value)):
            return ErrorInStream(int(str(value)), message, code, kind=kind, param=param)
    status = next((_STATUS_OF[word] for word in words if word in _STATUS_OF), 0)
    return ErrorInStream(status, message, code, kind=kind, param=param)


def _first_of(value: Any) -> str:
    """The beginning of a text. For another value its type, because formatting the value may take long."""
    return value[:_SAID_CHARACTERS] if type(value) is str else f"{type(value).__name__} instead of a string"
