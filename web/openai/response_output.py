"""The output items of a response as they grow: what each adds to the stream, and what it is in the end.

The order of events is that of https://platform.openai.com/docs/api-reference/responses-streaming.
"""

from __future__ import annotations

from typing import Any

import orjson

from spool.growing_text import GrowingText

Event = dict[str, Any]


class TextItem:
    """A message, or what the model thought before it: an item with one part of text."""

    def __init__(self, item_id: str, index: int, *, reasoning: bool) -> None:
        self.item_id = item_id
        self._index = index
        self._reasoning = reasoning
        self._text = GrowingText()
        self._status = "in_progress"
        self._name = "response.reasoning_text" if reasoning else "response.output_text"
        self._logprobs: dict[str, Any] = {} if reasoning else {"logprobs": []}
        # What is the same in all its deltas, encoded once.
        before, _, behind = orjson.dumps(self._delta("")).partition(b'"delta":""')
        self._head = b'event: %b.delta\ndata: %b"delta":' % (self._name.encode(), before)
        self._tail = behind[:-1] + b',"sequence_number":%d}\n\n'

    @property
    def is_answer(self) -> bool:
        """Whether a second attempt would say it twice."""
        return not self._reasoning

    def begin(self) -> list[Event]:
        """The item is there, and its part."""
        part = {"type": "response.content_part.added", **self._place(), "part": self._part("")}
        return [{"type": "response.output_item.added", "output_index": self._index, "item": self._item([])}, part]

    def add(self, text: str) -> Event:
        """A piece of its text."""
        self._text.add(text)
        return self._delta(text)

    def add_encoded(self, text: str, number: int) -> bytes:
        """A piece of its text, as the event of that number on the wire."""
        self._text.add(text)
        return self._head + orjson.dumps(text) + self._tail % number

    def append(self, text: str) -> None:
        """Some of its text, of which no event is wanted."""
        self._text.add(text)

    @property
    def size(self) -> int:
        """How long its text is, in characters."""
        return self._text.size

    def end(self, status: str) -> list[Event]:
        """It is whole, or as whole as it gets."""
        self._status = status
        text = str(self._text)
        return [
            {"type": f"{self._name}.done", **self._place(), "text": text, **self._logprobs},
            {"type": "response.content_part.done", **self._place(), "part": self._part(text)},
            {"type": "response.output_item.done", "output_index": self._index, "item": self.item()},
        ]

    def item(self) -> dict[str, Any]:
        """The item as it is now."""
        return self._item([self._part(str(self._text))])

    def _delta(self, text: str) -> Event:
        return {"type": f"{self._name}.delta", **self._place(), "delta": text, **self._logprobs}

    def _item(self, content: list[dict[str, Any]]) -> dict[str, Any]:
        item: dict[str, Any] = {"id": self.item_id, "status": self._status, "content": content}
        if self._reasoning:
            return {"type": "reasoning", **item, "summary": []}
        return {"type": "message", "role": "assistant", **item}

    def _part(self, text: str) -> dict[str, Any]:
        if self._reasoning:
            return {"type": "reasoning_text", "text": text}
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}

    def _place(self) -> dict[str, Any]:
        return {"item_id": self.item_id, "output_index": self._index, "content_index": 0}


class CallItem:
    """A call of one of the caller's functions."""

    is_answer = True

    def __init__(self, item_id: str, index: int, call_id: str, name: str) -> None:
        self.item_id = item_id
        self._index = index
        self._call_id = call_id
        self._name = name
        self._arguments = GrowingText()
        self._status = "in_progress"

    def begin(self) -> list[Event]:
        """The call is there."""
        return [{"type": "response.output_item.added", "output_index": self._index, "item": self.item()}]

    def add(self, arguments: str) -> Event:
        """A piece of its arguments."""
        self._arguments.add(arguments)
        return {"type": "response.function_call_arguments.delta", **self._place(), "delta": arguments}

    @property
    def size(self) -> int:
        """How long its arguments are, in characters."""
        return self._arguments.size

    def end(self, status: str) -> list[Event]:
        """It is whole."""
        self._status = status
        done = {"type": "response.function_call_arguments.done", **self._place(), "arguments": str(self._arguments)}
        return [
            {**done, "name": self._name},
            {"type": "response.output_item.done", "output_index": self._index, "item": self.item()},
        ]

    def item(self) -> dict[str, Any]:
        """The item as it is now."""
        return {
            "type": "function_call",
            "id": self.item_id,
            "call_id": self._call_id,
            "name": self._name,
            "arguments": str(self._arguments),
            "status": self._status,
        }

    def _place(self) -> dict[str, Any]:
        return {"item_id": self.item_id, "output_index": self._index}
