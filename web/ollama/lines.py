"""Ollama's answers: entries in, lines of NDJSON or the whole answer out.

A tool call is one piece, so calls come whole, before the last line. Durations are in nanoseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NotRequired

import orjson
from typing_extensions import TypedDict

from spool.jobs.conversation import Answer, ToolCall
from spool.jobs.entries import Kind, is_mark, rfc3339
from spool.jobs.job import Job
from spool.jobs.waits import Wait
from web.delivery.failures import CANCELLED, RESTARTED, failure_of
from web.entry_translation import WholeCalls
from web.ollama.errors import document_of

_BEGINS = frozenset({Kind.STARTED, Kind.RESTARTED, Kind.CONTINUED})


class OllamaLine(TypedDict):
    """One line of an answer, or the whole answer; the last line is ``done`` and has the counts. ``message`` in a chat,
    ``response`` and ``thinking`` of a generation."""

    model: str
    created_at: str
    done: bool
    message: NotRequired[Mapping[str, Any]]
    response: NotRequired[str]
    thinking: NotRequired[str]
    done_reason: NotRequired[str]
    total_duration: NotRequired[int]
    load_duration: NotRequired[int]
    prompt_eval_count: NotRequired[int]
    prompt_eval_duration: NotRequired[int]
    eval_count: NotRequired[int]
    eval_duration: NotRequired[int]


class OllamaStream(WholeCalls):
    """One stream of a chat, or of a generation (``is_chat`` False), with thinking unless the client turned it off."""

    name = "ollama"

    def __init__(self, job: Job, *, is_chat: bool, shows_thinking: bool) -> None:
        super().__init__(job)
        self._is_chat = is_chat
        self._shows_thinking = shows_thinking
        self._usage: Mapping[str, Any] | None = None
        self._begun_s = job.created_at
        self._has_answer = False

    @property
    def format(self) -> tuple[str, bool, bool]:
        """Its format."""
        return self.name, self._is_chat, self._shows_thinking

    def heartbeat(self) -> bytes:
        """A line without text: the format has no comments."""
        return self._line(rfc3339(self.job.created_at), self._piece())

    def queued(self, wait: Wait) -> bytes:  # noqa: ARG002 - the format has no place for it
        """Nothing."""
        return b""

    def broken_off(self, code: str, message: str) -> bytes:
        """An error line, on which clients raise."""
        return self._error({"code": code, "message": message})

    def _entry(self, entry: dict[str, Any]) -> bytes:
        match entry["kind"]:
            case Kind.TOKEN if not is_mark(entry):
                self._has_answer = True
                return self._line(entry["at"], self._piece(entry["text"]))
            case Kind.REASONING if self._shows_thinking:
                return self._line(entry["at"], self._piece(thinking=entry["text"]))
            case Kind.TOOL_CALL:
                self._has_answer = True
                call, _begins = self.call_of(entry)
                call.pieces.add(entry["arguments"])
            case Kind.USAGE:
                self._usage = entry
            case Kind.RESTARTED if self._has_answer:
                return self._error(RESTARTED)
            case Kind.DONE:
                return self._done(entry)
            case Kind.FAILED:
                return self._error(entry["error"])
            case Kind.CANCELLED:
                return self._error(CANCELLED)
        if entry["kind"] in _BEGINS:
            self._begun_s = _seconds(entry["at"])
        return b""

    def _done(self, entry: Mapping[str, Any]) -> bytes:
        self.over = True
        ended_s = _seconds(entry["at"])
        end = _end(entry["finish_reason"], self._usage, ended_s - self.job.created_at, ended_s - self._begun_s)
        calls = b""
        if self.calls and self._is_chat:
            calls = self._line(entry["at"], self._piece(calls=[_call(call) for call in self.calls.values()]))
        return calls + self._line(entry["at"], {**self._piece(), **end})

    def _piece(self, text: str = "", **more: Any) -> dict[str, Any]:
        return _piece(text, is_chat=self._is_chat, **more)

    def _line(self, at: str, fields: Mapping[str, Any]) -> bytes:
        return orjson.dumps({"model": self.job.model, "created_at": at, "done": False, **fields}) + b"\n"

    def _error(self, error: Mapping[str, Any]) -> bytes:
        self.over = True
        return orjson.dumps(document_of(failure_of(error))) + b"\n"


def whole(job: Job, answer: Answer, *, is_chat: bool, shows_thinking: bool) -> dict[str, Any]:
    """The whole answer of a job that has ended."""
    ended_s = job.ended_at or job.created_at
    thinking = answer.reasoning if shows_thinking else ""
    calls = [_call(call) for call in answer.calls.values()]
    return {
        "model": job.model,
        "created_at": rfc3339(ended_s),
        **_piece(answer.text, thinking, calls, is_chat=is_chat),
        **_end(
            answer.finish_reason or "stop",
            answer.usage,
            ended_s - job.created_at,
            ended_s - (job.started_at or job.created_at),
        ),
    }


def loaded(model: str, at_s: float, *, is_chat: bool) -> dict[str, Any]:
    """The answer to a request without a prompt, with which clients load a model."""
    end = {"done": True, "done_reason": "load"}
    return {"model": model, "created_at": rfc3339(at_s), **_piece("", is_chat=is_chat), **end}


def _piece(
    text: str, thinking: str = "", calls: list[dict[str, Any]] | None = None, *, is_chat: bool
) -> dict[str, Any]:
    thought = {"thinking": thinking} if thinking else {}
    if not is_chat:
        return {"response": text, **thought}
    called = {"tool_calls": [*calls]} if calls else {}
    return {"message": {"role": "assistant", "content": text, **thought, **called}}


def _call(call: ToolCall) -> dict[str, Any]:
    try:
        arguments = orjson.loads(call.arguments or "{}")
    except orjson.JSONDecodeError:
        # The shape has no place for text: the tool then gets the text that the model wrote.
        arguments = {"arguments": call.arguments}
    return {"id": call.call_id, "function": {"name": call.name, "arguments": arguments}}


def _end(finish_reason: str, usage: Mapping[str, Any] | None, total_s: float, eval_s: float) -> dict[str, Any]:
    counts = {} if usage is None else {"prompt_eval_count": usage["input_tokens"], "eval_count": usage["output_tokens"]}
    return {
        "done": True,
        "done_reason": "length" if finish_reason == "length" else "stop",
        "total_duration": _ns(total_s),
        "load_duration": 0,
        "prompt_eval_duration": 0,
        "eval_duration": _ns(eval_s),
        **counts,
    }


def _ns(seconds: float) -> int:
    """Nanoseconds, at least 1: clients divide by them."""
    return max(1, round(seconds * 1e9))


def _seconds(at: str) -> float:
    return datetime.fromisoformat(at).timestamp()
