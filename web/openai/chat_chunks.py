"""Chat completions: entries in, ``chat.completion.chunk`` events or the whole completion out.

https://platform.openai.com/docs/api-reference/chat-streaming. Reasoning is ``reasoning_content``, as in DeepSeek,
vLLM and llama.cpp.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from typing import Any, Literal, NotRequired, Self

import orjson
from typing_extensions import TypedDict

from spool.jobs.conversation import Answer, call_id_of
from spool.jobs.entries import Kind, is_mark
from spool.jobs.job import Job
from spool.jobs.waits import Wait
from web.delivery.failures import CANCELLED, RESTARTED, failure_of
from web.entry_translation import EntryTranslation
from web.openai.failures import document_of

DONE = b"data: [DONE]\n\n"
PING = b": ping\n"
_CALL_BYTES = 64


class Choice(TypedDict):
    """The answer."""

    index: int
    message: Mapping[str, Any]
    logprobs: Mapping[str, Any] | None
    finish_reason: str | None


class ChatCompletion(TypedDict):
    """A whole chat completion. The usage is null if the upstream does not report it."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    system_fingerprint: str | None
    choices: list[Choice]
    usage: Mapping[str, Any] | None


class ChunkChoice(TypedDict):
    """The next piece of the answer."""

    index: int
    delta: Mapping[str, Any]
    logprobs: Mapping[str, Any] | None
    finish_reason: str | None


class ChatChunk(TypedDict):
    """One event of a stream; ``data: [DONE]`` follows the last."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    system_fingerprint: str | None
    choices: list[ChunkChoice]
    usage: NotRequired[Mapping[str, Any] | None]


class ChatChunks(EntryTranslation):
    """One stream. ``wants_usage``: a last chunk reports the token usage."""

    name = "chat"

    def __init__(self, job: Job, *, wants_usage: bool, head: Mapping[str, Any] | None = None) -> None:
        self._job = job
        self._head = b"data: " + orjson.dumps(head or _head(job))[:-1] + b',"choices":['
        self._tail = b'],"usage":null}\n\n' if wants_usage else b"]}\n\n"
        self._text_tail = b'},"logprobs":null,"finish_reason":null}' + self._tail
        self._wants_usage = wants_usage
        self._usage: Mapping[str, Any] | None = None
        self._has_answer = False
        self._text_field = b"content"
        self._calls: set[int] = set()
        self._result: tuple[str, ...] = ()

    @property
    def format(self) -> tuple[str, bool]:
        """Its format: the protocol, and whether it reports usage."""
        return self.name, self._wants_usage

    @property
    def size(self) -> int:
        """Its approximate size in bytes."""
        return _CALL_BYTES * len(self._calls) + sum(map(len, self._result))

    @property
    def parts(self) -> int:
        """The calls that ``fork`` copies."""
        return len(self._calls)

    def fork(self) -> Self:
        """A copy that changes by itself."""
        other = copy(self)
        other._calls = set(self._calls)
        return other

    def opening(self) -> bytes:
        """The chunk with the assistant's role."""
        return self._delta({"role": "assistant", "content": ""})

    def heartbeat(self) -> bytes:
        """A comment line."""
        return PING

    def queued(self, wait: Wait) -> bytes:
        """A comment line, because clients take every chunk for a part of the answer."""
        return b": queued %b\n" % orjson.dumps(wait.message())

    def broken_off(self, code: str, message: str) -> bytes:
        """An error event, on which the SDKs raise."""
        return self._error({"code": code, "message": message, "retryable": True})

    def _entry(self, entry: dict[str, Any]) -> bytes:
        match entry["kind"]:
            case Kind.TOKEN if is_mark(entry):
                return self._mark(entry)
            case Kind.TOKEN:
                self._has_answer = True
                return self._text(entry["text"])
            case Kind.REASONING:
                return self._delta({"reasoning_content": entry["text"]})
            case Kind.TOOL_CALL:
                self._has_answer = True
                return self._delta({"tool_calls": [self._call(entry)]})
            case Kind.USAGE:
                self._usage = entry
            case Kind.RESULT:
                self._result = (*self._result, entry["body"])
            case Kind.RESTARTED if self._has_answer:
                return self._error(RESTARTED)
            case Kind.RESTARTED:
                # Nothing of a result was sent.
                self._result = ()
            case Kind.DONE if self._result:
                return self._whole()
            case Kind.DONE:
                return self._end(entry["finish_reason"])
            case Kind.FAILED:
                return self._error(entry["error"])
            case Kind.CANCELLED:
                return self._error(CANCELLED)
        return b""

    def _mark(self, entry: Mapping[str, Any]) -> bytes:
        if entry.get("refusal"):
            self._text_field = b"refusal"
        if logprobs := entry.get("logprobs"):
            probable = {"content": logprobs, "refusal": None}
            return self.chunk({"index": 0, "delta": {"content": ""}, "logprobs": probable, "finish_reason": None})
        annotations = entry.get("annotations")
        return self._delta({"annotations": annotations}) if annotations else b""

    def _call(self, entry: dict[str, Any]) -> dict[str, Any]:
        index, arguments = entry["index"], entry["arguments"]
        if index in self._calls:
            return {"index": index, "function": {"arguments": arguments}}
        self._calls.add(index)
        function = {"name": entry["name"] or "", "arguments": arguments}
        return {"index": index, "id": call_id_of(self._job.id, entry), "type": "function", "function": function}

    def _delta(self, delta: Mapping[str, Any], finish_reason: str | None = None) -> bytes:
        return self.chunk({"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason})

    def _text(self, text: str) -> bytes:
        """``_delta`` with a piece of the answer's text, at half the cost: most entries are such."""
        return b'%b{"index":0,"delta":{"%b":%b%b' % (self._head, self._text_field, orjson.dumps(text), self._text_tail)

    def _whole(self) -> bytes:
        """A chunk for each choice of the result, and the end."""
        document = orjson.loads("".join(self._result))
        chunks = [self.chunk(self.piece(choice)) for choice in document.get("choices") or ()]
        return b"".join([*chunks, self.end(document.get("usage"))])

    def piece(self, choice: Mapping[str, Any]) -> Mapping[str, Any]:
        """A whole choice as one piece."""
        delta = dict(choice.get("message") or {})
        if delta.get("tool_calls"):
            delta["tool_calls"] = [{"index": index, **call} for index, call in enumerate(delta["tool_calls"])]
        rest = {name: value for name, value in choice.items() if name != "message"}
        return {"index": 0, "logprobs": None, **rest, "delta": delta}

    def chunk(self, choice: Mapping[str, Any]) -> bytes:
        """The event with this choice."""
        return self._head + orjson.dumps(choice) + self._tail

    def end(self, usage: Any) -> bytes:
        """The end of the stream, with the usage if it was requested."""
        self.over = True
        return (self._head + b'],"usage":' + orjson.dumps(usage) + b"}\n\n" if self._wants_usage else b"") + DONE

    def _end(self, finish_reason: str) -> bytes:
        return self._delta({}, finish_reason) + self.end(usage_of(self._usage))

    def _error(self, error: Mapping[str, Any]) -> bytes:
        self.over = True
        return b"data: " + orjson.dumps(document_of(failure_of(error))) + b"\n\n"


def completion(job: Job, answer: Answer) -> ChatCompletion:
    """The whole chat completion of a finished answer."""
    message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None, **(answer.message() or {})}
    if answer.reasoning:
        message["reasoning_content"] = answer.reasoning
    if not answer.calls:
        message["content"] = answer.text
    if answer.refuses:
        message["content"], message["refusal"] = None, answer.text
    if answer.annotations:
        message["annotations"] = answer.annotations
    logprobs = {"content": answer.logprobs, "refusal": None} if answer.logprobs else None
    choice: Choice = {"index": 0, "message": message, "logprobs": logprobs, "finish_reason": answer.finish_reason}
    return {
        "id": f"chatcmpl-{job.id}",
        "object": "chat.completion",
        "created": int(job.created_at),
        "model": job.model,
        "system_fingerprint": None,
        "choices": [choice],
        "usage": usage_of(answer.usage),
    }


def usage_of(usage: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """A ``usage`` entry in OpenAI's fields."""
    if usage is None:
        return None
    return {
        "prompt_tokens": usage["input_tokens"],
        "completion_tokens": usage["output_tokens"],
        "total_tokens": usage["input_tokens"] + usage["output_tokens"],
        "prompt_tokens_details": {"cached_tokens": usage.get("cached_tokens") or 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": usage.get("reasoning_tokens") or 0, "audio_tokens": 0},
    }


def _head(job: Job) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{job.id}",
        "object": "chat.completion.chunk",
        "created": int(job.created_at),
        "model": job.model,
        "system_fingerprint": None,
    }
