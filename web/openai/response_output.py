"""The output items of a response while they grow: their stream events and their final form.

The order of events is that of https://platform.openai.com/docs/api-reference/responses-streaming.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any, Self

import orjson

from spool.growing_text import GrowingText
from web.openai.client_calls import call_fields
from web.openai.client_tools import Called

Event = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ReasoningShape:
    """How a response shows reasoning: as its text or as a summary, and whether sealed for a later request as well.
    Spool has no other summary of it than the whole."""

    is_summary: bool = False
    seal: Callable[[str], str] | None = None


PLAIN = ReasoningShape()
_Logprobs = tuple["_Logprobs | None", Sequence[Mapping[str, Any]]]
"""The log probabilities of some tokens, behind those before them. They change no more, so forks share them."""


class TextItem:
    """A message or reasoning item with one text part. ``shape`` says how reasoning is shown; ``refuses``, that a
    message is a refusal."""

    def __init__(
        self, item_id: str, index: int, *, reasoning: bool, shape: ReasoningShape = PLAIN, refuses: bool = False
    ) -> None:
        self.item_id = item_id
        self.index = index
        self._reasoning = reasoning
        self._shape = shape
        self._is_summary = reasoning and shape.is_summary
        self._refuses = refuses and not reasoning
        self._annotations: tuple[Mapping[str, Any], ...] = ()
        self._text = GrowingText()
        self._status = "in_progress"
        self._name = "response.reasoning_text" if reasoning else "response.output_text"
        self._part_name = "response.content_part"
        if self._is_summary:
            self._name, self._part_name = "response.reasoning_summary_text", "response.reasoning_summary_part"
        elif self._refuses:
            self._name = "response.refusal"
        self._text_field = "refusal" if self._refuses else "text"
        self._has_logprobs = not (reasoning or self._refuses)
        self._logprobs: _Logprobs | None = None
        # The constant bytes of all its deltas, encoded once.
        before, _, behind = orjson.dumps(self._delta("")).partition(b'"delta":""')
        self._head = b'event: %b.delta\ndata: %b"delta":' % (self._name.encode(), before)
        self._tail = behind[:-1] + b',"sequence_number":%d}\n\n'

    @property
    def is_answer(self) -> bool:
        """Whether it is part of the answer, which a restart would repeat."""
        return not self._reasoning

    def fork(self) -> Self:
        """A copy that changes by itself; the text so far is shared."""
        other = copy(self)
        other._text = self._text.fork()
        return other

    def begin(self) -> list[Event]:
        """The events that add the item and its part."""
        part = {"type": f"{self._part_name}.added", **self._place(), "part": self._part("")}
        return [{"type": "response.output_item.added", "output_index": self.index, "item": self._item([])}, part]

    def add(self, text: str) -> Event:
        """Append text and return its delta event."""
        self._text.add(text)
        return self._delta(text)

    def add_encoded(self, text: str, number: int) -> bytes:
        """Append text and return its delta event, encoded with that sequence number."""
        self._text.add(text)
        return self._head + orjson.dumps(text) + self._tail % number

    def append(self, text: str) -> None:
        """Append text without an event."""
        self._text.add(text)

    def annotate(self, annotations: Iterable[Mapping[str, Any]]) -> list[Event]:
        """Add annotations, which come in the shape of chat completions, and return their events."""
        if self._refuses:
            return []
        first = len(self._annotations)
        self._annotations += tuple([_flat(annotation) for annotation in annotations])
        name = "response.output_text.annotation.added"
        return [
            {"type": name, **self._place(), "annotation_index": at, "annotation": annotation}
            for at, annotation in enumerate(self._annotations[first:], first)
        ]

    def add_logprobs(self, tokens: Sequence[Mapping[str, Any]]) -> list[Event]:
        """Add the log probabilities of its last tokens, and return their event: a delta without text."""
        if not self._has_logprobs:
            return []
        self._logprobs = self._logprobs, tokens
        return [{**self._delta(""), "logprobs": tokens}]

    @property
    def size(self) -> int:
        """The length of its text, in characters."""
        return self._text.size

    def end(self, status: str) -> list[Event]:
        """Close the item with this status and return the closing events."""
        self._status = status
        text = str(self._text)
        probable = {"logprobs": self._all_logprobs()} if self._has_logprobs else {}
        return [
            {"type": f"{self._name}.done", **self._place(), self._text_field: text, **probable},
            {"type": f"{self._part_name}.done", **self._place(), "part": self._part(text)},
            {"type": "response.output_item.done", "output_index": self.index, "item": self.item()},
        ]

    def item(self) -> dict[str, Any]:
        """The current item."""
        return self._item([self._part(str(self._text))])

    def _delta(self, text: str) -> Event:
        probable: dict[str, Any] = {"logprobs": []} if self._has_logprobs else {}
        return {"type": f"{self._name}.delta", **self._place(), "delta": text, **probable}

    def _item(self, content: list[dict[str, Any]]) -> dict[str, Any]:
        item: dict[str, Any] = {"id": self.item_id, "status": self._status, "content": content}
        if self._reasoning:
            shown = {"summary": content, "content": []} if self._is_summary else {"summary": []}
            seal = self._shape.seal
            sealed = {"encrypted_content": seal(str(self._text))} if seal and self._status != "in_progress" else {}
            return {"type": "reasoning", **item, **shown, **sealed}
        return {"type": "message", "role": "assistant", **item}

    def _part(self, text: str) -> dict[str, Any]:
        if self._reasoning:
            return {"type": "summary_text" if self._is_summary else "reasoning_text", "text": text}
        if self._refuses:
            return {"type": "refusal", "refusal": text}
        logprobs = self._all_logprobs()
        return {"type": "output_text", "text": text, "annotations": list(self._annotations), "logprobs": logprobs}

    def _all_logprobs(self) -> list[Mapping[str, Any]]:
        groups, rest = list[Sequence[Mapping[str, Any]]](), self._logprobs
        while rest is not None:
            rest, tokens = rest
            groups.append(tokens)
        return [token for tokens in reversed(groups) for token in tokens]

    def _place(self) -> dict[str, Any]:
        part = "summary_index" if self._is_summary else "content_index"
        return {"item_id": self.item_id, "output_index": self.index, part: 0}


def _flat(annotation: Mapping[str, Any]) -> Mapping[str, Any]:
    """The annotation with the fields of its type beside the type."""
    inner = annotation.get(str(annotation.get("type")))
    return {"type": annotation["type"], **inner} if isinstance(inner, dict) else annotation


class CallItem:
    """A call of one of the caller's functions, or of a tool that a function stands for."""

    is_answer = True

    def __init__(self, item_id: str, index: int, call_id: str, called: Called) -> None:
        self.item_id = item_id
        self.index = index
        self._call_id = call_id
        self._called = called
        self._is_function = called.type == "function"
        self._arguments = GrowingText()
        self._status = "in_progress"

    def fork(self) -> Self:
        """A copy that changes by itself; the arguments so far are shared."""
        other = copy(self)
        other._arguments = self._arguments.fork()
        return other

    def begin(self) -> list[Event]:
        """The event that adds the call."""
        return [{"type": "response.output_item.added", "output_index": self.index, "item": self.item()}]

    def add(self, arguments: str) -> list[Event]:
        """Append to its arguments and return the delta event; none for a tool whose fields are known only at the
        end."""
        self._arguments.add(arguments)
        if not self._is_function:
            return []
        return [{"type": "response.function_call_arguments.delta", **self._place(), "delta": arguments}]

    @property
    def size(self) -> int:
        """The length of its arguments, in characters."""
        return self._arguments.size

    def end(self, status: str) -> list[Event]:
        """Close the call with this status and return the closing events."""
        self._status = status
        item = self.item()
        done = {"type": "response.output_item.done", "output_index": self.index, "item": item}
        return [*self._input_events(item), done]

    def _input_events(self, item: Event) -> list[Event]:
        if self._is_function:
            arguments = {"arguments": item["arguments"], "name": self._called.name}
            return [{"type": "response.function_call_arguments.done", **self._place(), **arguments}]
        if self._called.type != "custom":
            return []
        name, text = "response.custom_tool_call_input", item["input"]
        delta = [{"type": f"{name}.delta", **self._place(), "delta": text}] if text else []
        return [*delta, {"type": f"{name}.done", **self._place(), "input": text}]

    def item(self) -> dict[str, Any]:
        """The current item."""
        fields = call_fields(self._called, str(self._arguments))
        return {"id": self.item_id, "call_id": self._call_id, **fields, "status": self._status}

    def _place(self) -> dict[str, Any]:
        return {"item_id": self.item_id, "output_index": self.index}
