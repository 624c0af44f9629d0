"""Completions of the older kind: entries in, ``text_completion`` events or the whole completion out.

https://platform.openai.com/docs/api-reference/completions
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NotRequired

import orjson
from typing_extensions import TypedDict

from spool.jobs.conversation import Answer
from spool.jobs.entries import Kind, is_mark
from spool.jobs.job import Job
from web.openai.chat_chunks import ChatChunks, usage_of


class TextChoice(TypedDict):
    """One completion, or the next piece of it."""

    text: str
    index: int
    logprobs: Any
    finish_reason: str | None


class TextCompletion(TypedDict):
    """Completions, or one event of their stream; ``data: [DONE]`` follows the last."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[TextChoice]
    usage: NotRequired[Mapping[str, Any] | None]


class CompletionChunks(ChatChunks):
    """One stream. Several completions, which come as one result, follow one another at its end."""

    name = "completions"

    def __init__(self, job: Job, *, wants_usage: bool) -> None:
        super().__init__(job, wants_usage=wants_usage, head=_head(job))
        self._result: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Its approximate size in bytes."""
        return sum(map(len, self._result))

    def opening(self) -> bytes:
        """Nothing: a completion has no role."""
        return b""

    def _entry(self, entry: dict[str, Any]) -> bytes:
        match entry["kind"]:
            case Kind.REASONING | Kind.TOOL_CALL:
                return b""
            case Kind.TOKEN if is_mark(entry):
                return b""
            case Kind.RESULT:
                self._result = (*self._result, entry["body"])
                return b""
            case Kind.RESTARTED:
                self._result = ()
            case Kind.DONE if self._result:
                return self._all()
        return super()._entry(entry)

    def _delta(self, delta: Mapping[str, Any], finish_reason: str | None = None) -> bytes:
        return self.chunk(
            {"text": delta.get("content") or "", "index": 0, "logprobs": None, "finish_reason": finish_reason}
        )

    def _all(self) -> bytes:
        document = orjson.loads("".join(self._result))
        chunks = [self.chunk(choice) for choice in document.get("choices") or ()]
        return b"".join([*chunks, self.end(document.get("usage"))])


def text_completion(job: Job, answer: Answer) -> TextCompletion:
    """The whole completion of a finished answer that consists of text."""
    choice: TextChoice = {"text": answer.text, "index": 0, "logprobs": None, "finish_reason": answer.finish_reason}
    return {**_head(job), "choices": [choice], "usage": usage_of(answer.usage)}  # type: ignore[typeddict-item]


def _head(job: Job) -> dict[str, Any]:
    return {
        "id": f"cmpl-{job.id}",
        "object": "text_completion",
        "created": int(job.created_at),
        "model": job.model,
    }
