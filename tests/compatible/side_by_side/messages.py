"""Answers as Anthropic's messages. https://docs.anthropic.com/en/api/messages-streaming"""

from __future__ import annotations

import json
from typing import Any

from tests.compatible.side_by_side.faults import ANTHROPIC
from tests.compatible.side_by_side.speaker import INPUT_TOKENS, OUTPUT_TOKENS, SEAL, Speaker
from tests.scripted_upstream import Call


class Messages(Speaker):
    """Messages; reasoning is a thinking block and its signature."""

    faults = ANTHROPIC

    def __init__(self, call: Call) -> None:
        super().__init__(call)
        self._blocks: list[dict[str, Any]] = []
        self._stop = "end_turn"

    def begin(self) -> None:
        super().begin()
        self._event("message_start", message=self._message(None, 1))

    def reason(self, text: str) -> None:
        deltas = [{"type": "thinking_delta", "thinking": text}, {"type": "signature_delta", "signature": SEAL}]
        self._block({"type": "thinking", "thinking": text, "signature": SEAL}, ("thinking", "signature"), deltas)

    def say(self, *pieces: str, keeps_open: bool = False) -> None:
        deltas = [{"type": "text_delta", "text": piece} for piece in pieces]
        self._block({"type": "text", "text": "".join(pieces)}, ("text",), deltas, keeps_open=keeps_open)

    def ask_for(self, *names: str) -> None:
        self._stop = "tool_use"
        for name in names:
            deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in ('{"city":', '"Oslo"}')]
            block = {"type": "tool_use", "id": f"call_{name}", "name": name, "input": {"city": "Oslo"}}
            self._block(block, ("input",), deltas)

    def end(self) -> None:
        if not self.is_stream:
            self.call.json(200, self._message(self._stop, OUTPUT_TOKENS) | {"content": self._blocks})
            return
        delta = {"stop_reason": self._stop, "stop_sequence": None}
        self._event("message_delta", delta=delta, usage={"output_tokens": OUTPUT_TOKENS})
        self._event("message_stop")

    def break_with(self, name: str) -> None:
        self._event("error", error=self.faults[name][1])

    def error_body(self, error: dict[str, Any]) -> dict[str, Any]:
        named = {name: error[name] for name in ("type", "message")}
        return {"type": "error", "error": named, "request_id": "req_1"}

    @property
    def has_reasoning(self) -> bool:
        turns = [turn["content"] for turn in self.call.body["messages"] if turn["role"] == "assistant"]
        return any(block.get("signature") == SEAL for blocks in turns for block in blocks)

    def _block(
        self, block: dict[str, Any], filled: tuple[str, ...], deltas: list[Any], *, keeps_open: bool = False
    ) -> None:
        index = len(self._blocks)
        empty = {name: type(block[name])() for name in filled}
        self._event("content_block_start", index=index, content_block=block | empty)
        for delta in deltas:
            self._event("content_block_delta", index=index, delta=delta)
        if not keeps_open:
            self._event("content_block_stop", index=index)
        self._blocks.append(block)

    def _event(self, kind: str, **fields: Any) -> None:
        if self.is_stream:
            self.call.send(f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode())

    def _message(self, stop: str | None, output_tokens: int) -> dict[str, Any]:
        usage = {"input_tokens": INPUT_TOKENS, "output_tokens": output_tokens}
        named = {"id": "msg_1", "type": "message", "role": "assistant", "model": self.call.body["model"]}
        return {**named, "content": [], "stop_reason": stop, "stop_sequence": None, "usage": usage}
