"""Items of the Responses API, translated to and from chat messages, in which a conversation is stored.

https://platform.openai.com/docs/api-reference/responses/create, and the Open Responses specification, "Items".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from web.openai.fields import refuse
from web.time_slices import in_slices

_SHOWN = 64
"""The most characters of a wrong name that a response repeats."""
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

Look = Callable[[str, str], Mapping[str, Any] | None]
"""Finds an item of an earlier response by its id; None if there is none. The second argument is the field that refers
to it."""


def messages_of(items: str | Sequence[Mapping[str, Any]], look: Look) -> list[dict[str, Any]]:
    """The chat messages of these input items. Raises a ``Problem`` that names an invalid item."""
    if isinstance(items, str):
        return [{"role": "user", "content": items}]
    messages: list[dict[str, Any]] = []
    for at, item in enumerate(in_slices(items)):
        place = f"input[{at}]"
        if item.get("type") == "item_reference":
            item = _referenced(item, look, place)
        try:
            _add(messages, item, place)
        except (KeyError, TypeError, AttributeError):
            refuse(place, "lacks a field, or has one of the wrong type")
    return messages


def items_of(messages: Sequence[Mapping[str, Any]], job_id: str) -> list[dict[str, Any]]:
    """The input items of a turn's messages, each with an id. Messages of a native job may have any shape: unknown parts
    are shown unchanged, malformed calls are omitted."""
    items: list[dict[str, Any]] = []
    for message in in_slices(messages):
        role, content = message["role"], message.get("content")
        if role == "tool":
            output = content if isinstance(content, str) else [_listed_part(part, "user") for part in content or ()]
            call_id = str(message.get("tool_call_id", ""))
            _list(items, job_id, "fco", type="function_call_output", call_id=call_id, output=output)
            continue
        if content:
            parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
            _list(items, job_id, "msg", type="message", role=role, content=[_listed_part(part, role) for part in parts])
        for call in _calls_of(message):
            _list(items, job_id, "fc", type="function_call", **call)
    return items


def _list(items: list[dict[str, Any]], job_id: str, prefix: str, **fields: Any) -> None:
    items.append({"id": f"{prefix}_{job_id}_in{len(items)}", "status": "completed", **fields})


def _calls_of(message: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    calls = message.get("tool_calls")
    for call in calls if isinstance(calls, list) else ():
        function = call.get("function") if isinstance(call, dict) else None
        if isinstance(function, dict):
            names = {name: str(function.get(name, "")) for name in ("name", "arguments")}
            yield {"call_id": str(call.get("id", "")), **names}


def _listed_part(part: Mapping[str, Any], role: str) -> dict[str, Any]:
    match part:
        case {"type": "text", "text": str(text)} if role == "assistant":
            return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
        case {"type": "text", "text": str(text)}:
            return {"type": "input_text", "text": text}
        case {"type": "image_url", "image_url": {"url": url, **more}}:
            return {"type": "input_image", "image_url": url, "detail": more.get("detail", "auto")}
        case {"type": "file", "file": dict(file)}:
            return {"type": "input_file", **file}
    return dict(part)


def _referenced(item: Mapping[str, Any], look: Look, place: str) -> Mapping[str, Any]:
    found = look(str(item.get("id")), f"{place}.id")
    if found is None:
        refuse(f"{place}.id", "no such item, or its response is no longer stored")
    return found


def _add(messages: list[dict[str, Any]], item: Mapping[str, Any], place: str) -> None:
    match item.get("type", "message"):
        case "message":
            role = _ROLES.get(item["role"])
            if role is None:
                refuse(f"{place}.role", "must be user, assistant, system or developer")
            messages.append({"role": role, "content": _content(item["content"], role, f"{place}.content")})
        case "function_call":
            _add_call(messages, item)
        case "function_call_output":
            content = _content(item["output"], "tool", f"{place}.output")
            messages.append({"role": "tool", "tool_call_id": _text(item["call_id"]), "content": content})
        case "reasoning":
            # Chat models take no reasoning of earlier turns.
            pass
        case str(other):
            refuse(f"{place}.type", f"unsupported item type {other[:_SHOWN]!r}")
        case _:
            refuse(f"{place}.type", "must be text")


def _add_call(messages: list[dict[str, Any]], item: Mapping[str, Any]) -> None:
    """Add a call to the assistant's message before it, beside that message's other calls."""
    function = {"name": _text(item["name"]), "arguments": _text(item["arguments"])}
    call = {"id": _text(item["call_id"]), "type": "function", "function": function}
    if not messages or messages[-1]["role"] != "assistant":
        messages.append({"role": "assistant", "content": None})
    messages[-1].setdefault("tool_calls", []).append(call)


def _content(content: Any, role: str, place: str) -> Any:
    """Plain text where possible, because not every server accepts parts from every role."""
    if isinstance(content, str):
        return content
    parts = []
    for at, part in enumerate(content):
        translate = _PARTS.get(part["type"])
        if translate is None:
            refuse(f"{place}[{at}].type", f"unsupported part type {part['type'][:_SHOWN]!r}")
        parts.append(translate(part))
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
