"""Completions of the older kind: entries in, ``text_completion`` events or the whole completion out.

https://platform.openai.com/docs/api-reference/completions
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NotRequired

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

    def opening(self) -> bytes:
        """Nothing: a completion has no role."""
        return b""

    def _entry(self, entry: dict[str, Any]) -> bytes:
        match entry["kind"]:
            case Kind.REASONING | Kind.TOOL_CALL:
                return b""
            case Kind.TOKEN if is_mark(entry):
                return b""
        return super()._entry(entry)

    def _text(self, text: str) -> bytes:
        return self.chunk({"text": text, "index": 0, "logprobs": None, "finish_reason": None})

    def _delta(self, delta: Mapping[str, Any], finish_reason: str | None = None) -> bytes:  # noqa: ARG002
        return self.chunk({"text": "", "index": 0, "logprobs": None, "finish_reason": finish_reason})

    def piece(self, choice: Mapping[str, Any]) -> Mapping[str, Any]:
        """A whole completion as one piece: the same."""
        return choice


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
