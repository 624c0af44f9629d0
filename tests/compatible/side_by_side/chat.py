"""Answers as chat completions."""

from __future__ import annotations

from typing import Any

from tests.compatible.side_by_side.speaker import INPUT_TOKENS, OUTPUT_TOKENS, THOUGHT, Speaker, function_call
from tests.scripted_upstream import Call


class Chat(Speaker):
    """Chat completions; reasoning as DeepSeek has it."""

    def __init__(self, call: Call) -> None:
        super().__init__(call)
        self._message: dict[str, Any] = {"role": "assistant", "content": ""}
        self._finish = "stop"

    def reason(self, text: str) -> None:
        self._message["reasoning_content"] = text
        self._delta(reasoning_content=text)

    def say(self, *pieces: str, keeps_open: bool = False) -> None:  # noqa: ARG002 - chunks are never closed
        for piece in pieces:
            self._message["content"] += piece
            self._delta(content=piece)

    def ask_for(self, *names: str) -> None:
        self._finish = "tool_calls"
        calls = [function_call(name) for name in names]
        self._message["tool_calls"] = calls
        for index, call in enumerate(calls):
            self._delta(tool_calls=[{"index": index, **call, "function": {**call["function"], "arguments": ""}}])
        for piece in ('{"city":', '"Oslo"}'):
            for index in range(len(calls)):
                self._delta(tool_calls=[{"index": index, "function": {"arguments": piece}}])

    def end(self) -> None:
        total = INPUT_TOKENS + OUTPUT_TOKENS
        usage = {"prompt_tokens": INPUT_TOKENS, "completion_tokens": OUTPUT_TOKENS, "total_tokens": total}
        if self.is_stream:
            self.call.event(self._chunk([{"index": 0, "delta": {}, "finish_reason": self._finish}]))
            self.call.event(self._chunk([]) | {"usage": usage})
            self.call.send(b"data: [DONE]\n\n")
            return
        choice = {"index": 0, "message": self._message, "finish_reason": self._finish}
        self.call.json(200, self._chunk([choice]) | {"object": "chat.completion", "usage": usage})

    def break_with(self, name: str) -> None:
        status, error = self.faults[name]
        self.call.event({"error": {**error, "status": status}})

    @property
    def has_reasoning(self) -> bool:
        return any(message.get("reasoning_content") == THOUGHT for message in self.call.body["messages"])

    def _delta(self, **delta: Any) -> None:
        if self.is_stream:
            self.call.event(self._chunk([{"index": 0, "delta": delta, "finish_reason": None}]))

    def _chunk(self, choices: list[Any]) -> dict[str, Any]:
        named = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": self.call.body["model"]}
        return {**named, "choices": choices}
