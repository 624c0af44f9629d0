"""The messages of a turn, listed as input items of the Responses API."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from spool.errors import ItemNotFound
from web.openai.client_calls import call_fields
from web.openai.client_tools import Called
from web.time_slices import in_slices


def items_of(
    messages: Sequence[Mapping[str, Any]], job_id: str, called: Mapping[str, Called] | None = None
) -> list[dict[str, Any]]:
    """The input items of a turn's messages, each with an id. ``called``: the tools that calls stand for. Messages of a
    native job may have any shape: unknown parts are shown unchanged, malformed calls are omitted."""
    items: list[dict[str, Any]] = []
    for message in in_slices(messages):
        role, content = message["role"], message.get("content")
        if role == "tool":
            output = content if isinstance(content, str) else [_listed_part(part, "user") for part in content or ()]
            call_id = str(message.get("tool_call_id", ""))
            _list(items, job_id, "fco", type="function_call_output", call_id=call_id, output=output)
            continue
        if isinstance(message.get("reasoning_content"), str):
            thought = {"type": "reasoning_text", "text": message["reasoning_content"]}
            _list(items, job_id, "rs", type="reasoning", summary=[], content=[thought])
        if content:
            parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
            _list(items, job_id, "msg", type="message", role=role, content=[_listed_part(part, role) for part in parts])
        for call in _calls_of(message, called or {}):
            _list(items, job_id, "fc", **call)
    return items


def page_of(items: list[dict[str, Any]], after: str | None, limit: int) -> tuple[list[dict[str, Any]], bool]:
    """At most ``limit`` items behind the one with the id ``after``, and whether there are more. Raises
    ``ItemNotFound``."""
    start = 0
    if after:
        start = next((at for at, item in enumerate(items, 1) if item["id"] == after), 0)
        if not start:
            raise ItemNotFound(after)
    page = items[start : start + limit]
    return page, start + len(page) < len(items)


def _list(items: list[dict[str, Any]], job_id: str, prefix: str, **fields: Any) -> None:
    items.append({"id": f"{prefix}_{job_id}_in{len(items)}", "status": "completed", **fields})


def _calls_of(message: Mapping[str, Any], called: Mapping[str, Called]) -> Iterator[dict[str, Any]]:
    calls = message.get("tool_calls")
    for call in calls if isinstance(calls, list) else ():
        function = call.get("function") if isinstance(call, dict) else None
        if isinstance(function, dict):
            name, arguments = (str(function.get(each, "")) for each in ("name", "arguments"))
            fields = call_fields(called.get(name) or Called("function", name), arguments)
            yield {"call_id": str(call.get("id", "")), **fields}


def _listed_part(part: Mapping[str, Any], role: str) -> dict[str, Any]:
    match part:
        case {"type": "text", "text": str(text)} if role == "assistant":
            return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
        case {"type": "text", "text": str(text)}:
            return {"type": "input_text", "text": text}
        case {"type": "image_url", "image_url": {"url": url, **more}}:
            return {"type": "input_image", "image_url": url, "detail": more.get("detail", "auto")}
        case {"type": "video_url", "video_url": {"url": url}}:
            return {"type": "input_video", "video_url": url}
        case {"type": "file", "file": dict(file)}:
            return {"type": "input_file", **file}
    return dict(part)
