"""Items of a conversation: those that clients add, as they are stored and listed."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from spool.conversations.conversation import Item
from web.openai.fields import refuse
from web.openai.response_items import messages_of
from web.time_slices import in_slices

_PREFIXES = {"message": "msg", "function_call": "fc", "function_call_output": "fco", "reasoning": "rs"}


def new_items(items: Sequence[Mapping[str, Any]], field: str = "items") -> list[Item]:
    """The items of a request, each with an id of its own. Raises a 422 ``Problem`` that names an invalid one."""
    for at, item in enumerate(items):
        if item.get("type") == "item_reference":
            refuse(f"{field}[{at}].type", "must be an item, not a reference")
    # Whatever a later response could not read is refused now.
    messages_of(items, lambda _id, _field: None, field=field)
    return [_encoded(_listed(item), f"{field}[{at}]") for at, item in enumerate(in_slices(items))]


def stored_items(items: Iterable[Mapping[str, Any]]) -> list[Item]:
    """Items that have ids."""
    return [Item(item["id"], orjson.dumps(item)) for item in in_slices(items)]


def documents(items: Iterable[Item]) -> list[dict[str, Any]]:
    """The items as clients see them. An item with damaged text is left out."""
    found = []
    for item in in_slices(items):
        try:
            document = orjson.loads(item.text)
        except orjson.JSONDecodeError:
            continue
        if isinstance(document, dict):
            found.append({**document, "id": item.id})
    return found


def _listed(item: Mapping[str, Any]) -> dict[str, Any]:
    kind = item.get("type", "message")
    listed = {**item, "type": kind, "id": f"{_PREFIXES.get(kind, 'item')}_{secrets.token_hex(16)}"}
    listed["status"] = item.get("status") or "completed"
    content = item.get("content")
    if kind == "message" and isinstance(content, str):
        part: dict[str, Any] = {"type": "input_text", "text": content}
        if item.get("role") == "assistant":
            part = {"type": "output_text", "text": content, "annotations": [], "logprobs": []}
        listed["content"] = [part]
    return listed


def _encoded(item: Mapping[str, Any], place: str) -> Item:
    try:
        return Item(item["id"], orjson.dumps(item))
    except orjson.JSONEncodeError:
        refuse(place, "is nested too deeply")
