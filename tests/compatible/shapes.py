"""What the Open Responses specification requires of a response, its items and its events: which fields must be there,
and of which types.

From its schema, https://github.com/openresponses/openresponses, ``schema/components/schemas``: ResponseResource,
Message, FunctionCall, ReasoningBody, OutputTextContent, Usage, … and the ``…StreamingEvent`` of each event, as of
September 2026.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Shape = Mapping[str, Any]

NUMBER = (int, float)
NONE = type(None)
OR_NONE = {str: (str, NONE), int: (int, NONE), dict: (dict, NONE)}

RESPONSE: Shape = {
    "id": str,
    "object": ("response",),
    "created_at": int,
    "completed_at": OR_NONE[int],
    "status": ("queued", "in_progress", "completed", "incomplete", "failed", "cancelled"),
    "incomplete_details": OR_NONE[dict],
    "model": str,
    "previous_response_id": OR_NONE[str],
    "instructions": OR_NONE[str],
    "output": list,
    "error": OR_NONE[dict],
    "tools": list,
    "tool_choice": (str, dict),
    "truncation": ("auto", "disabled"),
    "parallel_tool_calls": bool,
    "text": dict,
    "top_p": NUMBER,
    "presence_penalty": NUMBER,
    "frequency_penalty": NUMBER,
    "top_logprobs": int,
    "temperature": NUMBER,
    "reasoning": OR_NONE[dict],
    "user": OR_NONE[str],
    "usage": OR_NONE[dict],
    "max_output_tokens": OR_NONE[int],
    "max_tool_calls": OR_NONE[int],
    "store": bool,
    "background": bool,
    "service_tier": str,
    "metadata": dict,
    "safety_identifier": OR_NONE[str],
    "prompt_cache_key": OR_NONE[str],
}
STATUS = ("in_progress", "completed", "incomplete")
ITEMS: Mapping[str, Shape] = {
    "message": {"id": str, "status": STATUS, "role": ("user", "assistant", "system", "developer"), "content": list},
    "function_call": {"id": str, "call_id": str, "name": str, "arguments": str, "status": STATUS},
    "reasoning": {"id": str, "summary": list},
}
PARTS: Mapping[str, Shape] = {
    "output_text": {"text": str, "annotations": list, "logprobs": list},
    "reasoning_text": {"text": str},
}
TOOL: Shape = {
    "type": ("function",),
    "name": str,
    "description": OR_NONE[str],
    "parameters": OR_NONE[dict],
    "strict": (bool, NONE),
}
USAGE: Shape = {
    "input_tokens": int,
    "output_tokens": int,
    "total_tokens": int,
    "input_tokens_details": dict,
    "output_tokens_details": dict,
}
_OF_ITEM: Shape = {"item_id": str, "output_index": int}
_OF_PART: Shape = {**_OF_ITEM, "content_index": int}
EVENTS: Mapping[str, Shape] = {
    **{
        f"response.{name}": {"response": dict}
        for name in ("created", "queued", "in_progress", "completed", "failed", "incomplete")
    },
    "response.output_item.added": {"output_index": int, "item": dict},
    "response.output_item.done": {"output_index": int, "item": dict},
    "response.content_part.added": {**_OF_PART, "part": dict},
    "response.content_part.done": {**_OF_PART, "part": dict},
    "response.output_text.delta": {**_OF_PART, "delta": str, "logprobs": list},
    "response.output_text.done": {**_OF_PART, "text": str, "logprobs": list},
    "response.function_call_arguments.delta": {**_OF_ITEM, "delta": str},
    "response.function_call_arguments.done": {**_OF_ITEM, "arguments": str},
    "response.reasoning_text.delta": {**_OF_PART, "delta": str},
    "response.reasoning_text.done": {**_OF_PART, "text": str},
}


def check_response(response: Any) -> None:
    """Fail unless the Response object has the specification's shape."""
    _check(response, RESPONSE, "response")
    _check(response["text"], {"format": dict}, "response.text")
    if response["reasoning"] is not None:
        _check(response["reasoning"], {"effort": OR_NONE[str], "summary": OR_NONE[str]}, "response.reasoning")
    if response["error"] is not None:
        _check(response["error"], {"code": str, "message": str}, "response.error")
    if response["incomplete_details"] is not None:
        _check(response["incomplete_details"], {"reason": str}, "response.incomplete_details")
    if response["usage"] is not None:
        _check(response["usage"], USAGE, "response.usage")
        _check(response["usage"]["input_tokens_details"], {"cached_tokens": int}, "input_tokens_details")
        _check(response["usage"]["output_tokens_details"], {"reasoning_tokens": int}, "output_tokens_details")
    for tool in response["tools"]:
        _check(tool, TOOL, "response.tools[]")
    for item in response["output"]:
        check_item(item)


def check_item(item: Any) -> None:
    """Fail unless the output item has it."""
    _check(item, ITEMS[item["type"]], item["type"])
    for part in item.get("content") or ():
        _check(part, PARTS[part["type"]], part["type"])


def check_event(event: Any) -> None:
    """Fail unless the event has it, with all that is in it."""
    kind = event["type"]
    _check(event, {"sequence_number": int, **EVENTS[kind]}, kind)
    if "response" in event:
        check_response(event["response"])
    if "item" in event:
        check_item(event["item"])
    if "part" in event:
        _check(event["part"], PARTS[event["part"]["type"]], kind)


def _check(document: Any, shape: Shape, place: str) -> None:
    assert isinstance(document, dict), f"{place} is no object"
    for name, wanted in shape.items():
        assert name in document, f"{place}.{name} is missing"
        value = document[name]
        if isinstance(wanted, tuple) and all(isinstance(one, str) for one in wanted):
            assert value in wanted, f"{place}.{name} is {value!r}"
        else:
            assert isinstance(value, wanted), f"{place}.{name} is {value!r}"
            assert isinstance(value, bool) is (wanted is bool or (wanted == (bool, NONE) and value is not None)), place
