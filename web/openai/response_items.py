"""Input items of the Responses API, translated to chat messages, in which a conversation is stored.

https://platform.openai.com/docs/api-reference/responses/create, and the Open Responses specification, "Items". Items
and parts that chat messages cannot express are left out, because clients send them back with everything else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from web.intake.earlier_reasoning import add_reasoning
from web.openai.client_calls import OUTPUTS, call_of, output_of
from web.openai.fields import refuse
from web.time_slices import in_slices

_ROLES = {"user": "user", "assistant": "assistant", "system": "system", "developer": "system"}
# Content parts of the Responses API, by type, in the chat shape.
_PARTS: Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "input_text": lambda part: {"type": "text", "text": part["text"]},
    "output_text": lambda part: {"type": "text", "text": part["text"]},
    "text": lambda part: {"type": "text", "text": part["text"]},
    "refusal": lambda part: {"type": "text", "text": part["refusal"]},
    "input_image": lambda part: {"type": "image_url", "image_url": _image(part)},
    "input_file": lambda part: {"type": "file", "file": _without(part, "type")},
    "input_audio": lambda part: {"type": "input_audio", "input_audio": part["input_audio"]},
    "input_video": lambda part: {"type": "video_url", "video_url": {"url": part["video_url"]}},
}
"""Roles and parts in the chat shape. ``developer`` becomes ``system``, because only newer models know it."""
_SUMMARY = "Summary of the conversation before this point:\n\n"

Look = Callable[[str, str], Mapping[str, Any] | None]
"""Finds an item of an earlier response by its id; None if there is none. The second argument is the field that refers
to it."""
Unseal = Callable[[str], str | None]
"""The text that Spool has sealed; None for anything else."""


def messages_of(
    items: str | Sequence[Mapping[str, Any]],
    look: Look,
    unseal: Unseal = lambda _sealed: None,
    *,
    keeps_reasoning: bool = False,
    field: str = "input",
) -> list[dict[str, Any]]:
    """The chat messages of these input items. ``keeps_reasoning``: with all reasoning, and not only that before calls
    of tools. Raises a ``Problem`` that names an invalid item by its place in ``field``."""
    if isinstance(items, str):
        return [{"role": "user", "content": items}]
    conversation = _Conversation(unseal, keeps_reasoning=keeps_reasoning)
    for at, item in enumerate(in_slices(items)):
        place = f"{field}[{at}]"
        if item.get("type") == "item_reference":
            item = _referenced(item, look, place)
        try:
            conversation.add(item, place)
        except (KeyError, TypeError, AttributeError):
            refuse(place, "lacks a field, or has one of the wrong type")
    conversation.close()
    return conversation.messages


class _Conversation:
    """Chat messages, built item by item. Reasoning belongs to the assistant's message that follows it."""

    def __init__(self, unseal: Unseal, *, keeps_reasoning: bool) -> None:
        self.messages: list[dict[str, Any]] = []
        self._unseal = unseal
        self._keeps_reasoning = keeps_reasoning
        self._pending = ""
        """Reasoning that belongs to the next message, or to the last one if that gets a call."""
        self._reasoning = ""
        """The reasoning of the last message."""

    def add(self, item: Mapping[str, Any], place: str) -> None:
        """Add the next item. Raises ``KeyError``, ``TypeError`` or ``AttributeError`` for an invalid one."""
        kind = item.get("type", "message")
        if not isinstance(kind, str):
            refuse(f"{place}.type", "must be text")
        call = call_of(item)
        if call is not None:
            self._add_call(_text(item["call_id"] if "call_id" in item else item["id"]), *call)
        elif kind in OUTPUTS:
            call_id = item.get("call_id") or item.get("id")
            if call_id:
                content = _content(output_of(item), "tool")
                self._put({"role": "tool", "tool_call_id": _text(call_id), "content": content})
        elif kind == "message":
            self._add_message(item, place)
        elif kind == "reasoning":
            self._pending += self._reasoning_of(item)
        elif kind == "compaction":
            summary = self._unseal(_text(item["encrypted_content"]))
            if summary:
                self._put({"role": "user", "content": _SUMMARY + summary})

    def close(self) -> None:
        """Complete the last message."""
        last = self.messages[-1] if self.messages else None
        if last is not None and last["role"] == "assistant":
            add_reasoning(last, self._reasoning, keeps_all=self._keeps_reasoning)
        self._reasoning = ""

    def _add_message(self, item: Mapping[str, Any], place: str) -> None:
        role = _ROLES.get(item["role"])
        if role is None:
            refuse(f"{place}.role", "must be user, assistant, system or developer")
        content = _content(item["content"], role)
        if content or item["content"] == "":
            self._put({"role": role, "content": content})

    def _add_call(self, call_id: str, name: str, arguments: str) -> None:
        """Add a call to the assistant's message before it, beside that message's other calls."""
        if not self.messages or self.messages[-1]["role"] != "assistant":
            self._put({"role": "assistant", "content": None})
        self._take_pending()
        call = {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
        self.messages[-1].setdefault("tool_calls", []).append(call)

    def _put(self, message: dict[str, Any]) -> None:
        self.close()
        self.messages.append(message)
        if message["role"] == "assistant":
            self._take_pending()
        else:
            self._pending = ""

    def _take_pending(self) -> None:
        self._reasoning, self._pending = self._reasoning + self._pending, ""

    def _reasoning_of(self, item: Mapping[str, Any]) -> str:
        """Its text; else what Spool has sealed; else its summary."""
        said = _joined(item.get("content"))
        sealed = item.get("encrypted_content")
        return said or (isinstance(sealed, str) and self._unseal(sealed)) or _joined(item.get("summary"))


def _joined(parts: Any) -> str:
    return "".join([_text(part["text"]) for part in parts or () if "text" in part])


def _referenced(item: Mapping[str, Any], look: Look, place: str) -> Mapping[str, Any]:
    found = look(str(item.get("id")), f"{place}.id")
    if found is None:
        refuse(f"{place}.id", "no such item, or its response is no longer stored")
    return found


def _content(content: Any, role: str) -> Any:
    """Plain text where possible, because not every server accepts parts from every role."""
    if isinstance(content, str):
        return content
    parts = []
    for part in content:
        translate = _PARTS.get(_text(part["type"]))
        if translate is not None:
            parts.append(translate(part))
        elif isinstance(part.get("text"), str):
            parts.append({"type": "text", "text": part["text"]})
    texts = [_text(part["text"]) for part in parts if part["type"] == "text"]
    if len(texts) == len(parts) and (len(parts) == 1 or role != "user"):
        return "".join(texts)
    return parts


def _image(part: Mapping[str, Any]) -> dict[str, Any]:
    image = {"url": _text(part["image_url"])}
    if part.get("detail"):
        image["detail"] = part["detail"]
    return image


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(type(value).__name__)
    return value


def _without(part: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in part.items() if key != name}
