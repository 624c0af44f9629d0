"""Answers as OpenAI's responses. https://platform.openai.com/docs/api-reference/responses-streaming"""

from __future__ import annotations

import json
from typing import Any

from tests.compatible.side_by_side.speaker import INPUT_TOKENS, OUTPUT_TOKENS, SEAL, Speaker, function_call
from tests.scripted_upstream import Call


class Responses(Speaker):
    """Responses, whose reasoning is a summary and a seal."""

    def __init__(self, call: Call) -> None:
        super().__init__(call)
        self._number = 0
        self._output: list[dict[str, Any]] = []

    def begin(self) -> None:
        super().begin()
        for kind in ("created", "in_progress"):
            self._event(f"response.{kind}", response=self._response("in_progress"))

    def reason(self, text: str) -> None:
        part = {"type": "summary_text", "text": text}
        item = {"id": "rs_1", "type": "reasoning", "summary": [part], "encrypted_content": SEAL}
        at = self._added(item | {"summary": []}) | {"item_id": "rs_1", "summary_index": 0}
        self._event("response.reasoning_summary_part.added", **at, part=part | {"text": ""})
        self._event("response.reasoning_summary_text.delta", **at, delta=text)
        self._event("response.reasoning_summary_text.done", **at, text=text)
        self._event("response.reasoning_summary_part.done", **at, part=part)
        self._done(item)

    def say(self, *pieces: str, keeps_open: bool = False) -> None:
        part = {"type": "output_text", "text": "".join(pieces), "annotations": []}
        item = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [part]}
        at = self._added(item | {"status": "in_progress", "content": []}) | {"item_id": "msg_1", "content_index": 0}
        self._event("response.content_part.added", **at, part=part | {"text": ""})
        for piece in pieces:
            self._event("response.output_text.delta", **at, delta=piece, logprobs=[])
        if not keeps_open:
            self._event("response.output_text.done", **at, text=part["text"], logprobs=[])
            self._event("response.content_part.done", **at, part=part)
            self._done(item)

    def ask_for(self, *names: str) -> None:
        for name in names:
            function = function_call(name)
            call = {"id": f"fc_{name}", "type": "function_call", "call_id": function["id"], "status": "completed"}
            item = {**call, **function["function"]}
            at = self._added(item | {"status": "in_progress", "arguments": ""}) | {"item_id": item["id"]}
            self._event("response.function_call_arguments.delta", **at, delta=item["arguments"])
            self._event("response.function_call_arguments.done", **at, name=name, arguments=item["arguments"])
            self._done(item)

    def end(self) -> None:
        if self.is_stream:
            self._event("response.completed", response=self._response("completed"))
        else:
            self.call.json(200, self._response("completed"))

    def break_with(self, name: str) -> None:
        error = self.faults[name][1]
        failed = self._response("failed") | {"error": {"code": error["code"], "message": error["message"]}}
        self._event("response.failed", response=failed)

    @property
    def has_reasoning(self) -> bool:
        items = [item for item in self.call.body["input"] if isinstance(item, dict)]
        return any(item.get("type") == "reasoning" or item.get("id") == "rs_1" for item in items)

    def _added(self, item: dict[str, Any]) -> dict[str, Any]:
        at = {"output_index": len(self._output)}
        self._event("response.output_item.added", **at, item=item)
        return at

    def _done(self, item: dict[str, Any]) -> None:
        self._event("response.output_item.done", output_index=len(self._output), item=item)
        self._output.append(item)

    def _event(self, kind: str, **fields: Any) -> None:
        if self.is_stream:
            event = {"type": kind, "sequence_number": self._number, **fields}
            self.call.send(f"event: {kind}\ndata: {json.dumps(event)}\n\n".encode())
            self._number += 1

    def _response(self, status: str) -> dict[str, Any]:
        is_done = status == "completed"
        counted = {
            "input_tokens": INPUT_TOKENS,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": OUTPUT_TOKENS,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": INPUT_TOKENS + OUTPUT_TOKENS,
        }
        return {
            "id": "resp_1",
            "object": "response",
            "created_at": 1,
            "model": self.call.body["model"],
            "status": status,
            "error": None,
            "incomplete_details": None,
            "instructions": None,
            "metadata": {},
            "parallel_tool_calls": True,
            "temperature": 1.0,
            "tool_choice": "auto",
            "tools": [],
            "top_p": 1.0,
            "output": self._output,
            "usage": counted if is_done else None,
        }
