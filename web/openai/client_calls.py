"""Calls of the tools that the client runs: as items of the Responses API, and as function calls of chat messages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from web.openai.client_tools import Called

_SHELL = ("commands", "timeout_ms", "max_output_length")
_NO_PATCH = {"type": "update_file", "path": "", "diff": ""}

PREFIXES = {"custom": "ctc", "local_shell": "lsh", "shell": "sh", "apply_patch": "apc", "tool_search": "tsc"}
"""The beginnings of the ids of call items, by the type of the tool."""


def call_fields(called: Called, arguments: str) -> dict[str, Any]:
    """The type of a call's item, and its fields besides ``id``, ``call_id`` and ``status``. Arguments that are
    incomplete, or not what the tool expects, give the fields that can be read."""
    given = _parsed(arguments)
    match called.type:
        case "custom":
            text = given.get("input", arguments)
            return {
                "type": "custom_tool_call",
                **_named(called),
                "input": text if isinstance(text, str) else orjson.dumps(text).decode(),
            }
        case "local_shell":
            action = {"env": {}, **given, "type": "exec", "command": _strings(given.get("command"))}
            return {"type": "local_shell_call", "action": action}
        case "shell":
            action = {name: given.get(name) for name in _SHELL}
            return {"type": "shell_call", "action": {**action, "commands": _strings(given.get("commands"))}}
        case "apply_patch":
            operation = given.get("operation")
            return {"type": "apply_patch_call", "operation": operation if isinstance(operation, dict) else _NO_PATCH}
        case "tool_search":
            return {"type": "tool_search_call", "execution": "client", "arguments": given}
    return {"type": "function_call", **_named(called), "arguments": arguments}


def call_of(item: Mapping[str, Any]) -> tuple[str, str] | None:
    """The name and the arguments of the function call that this item stands for; None if it is not a call. Raises
    ``KeyError`` or ``TypeError`` for an item that lacks a field."""
    read = _CALLS.get(str(item.get("type")))
    return read(item) if read is not None else None


def output_of(item: Mapping[str, Any]) -> Any:
    """The result in the output item of a call: text, or parts of content."""
    if item["type"] == "tool_search_output":
        found = [{name: tool.get(name) for name in ("name", "description")} for tool in item.get("tools") or ()]
        return orjson.dumps({"tools": found}).decode()
    output = item.get("output")
    if item["type"] in _WITH_PARTS and isinstance(output, list):
        return output
    if output is None:
        output = item.get("status", "")
    return output if isinstance(output, str) else orjson.dumps(output).decode()


OUTPUTS = frozenset(
    {
        "function_call_output",
        "custom_tool_call_output",
        "local_shell_call_output",
        "shell_call_output",
        "apply_patch_call_output",
        "tool_search_output",
    }
)
_WITH_PARTS = ("function_call_output", "custom_tool_call_output")


def _named(called: Called) -> dict[str, Any]:
    return {"name": called.name, **({"namespace": called.namespace} if called.namespace else {})}


def _function_call(item: Mapping[str, Any]) -> tuple[str, str]:
    called = Called("function", _text(item["name"]), str(item.get("namespace") or ""))
    return called.function, _text(item["arguments"])


def _custom_call(item: Mapping[str, Any]) -> tuple[str, str]:
    called = Called("custom", _text(item["name"]), str(item.get("namespace") or ""))
    return called.function, orjson.dumps({"input": item["input"]}).decode()


def _action(kind: str, *left_out: str) -> Callable[[Mapping[str, Any]], tuple[str, str]]:
    def read(item: Mapping[str, Any]) -> tuple[str, str]:
        action = {name: value for name, value in item["action"].items() if value is not None and name not in left_out}
        return kind, orjson.dumps(action).decode()

    return read


def _patch_call(item: Mapping[str, Any]) -> tuple[str, str]:
    return "apply_patch", orjson.dumps({"operation": item["operation"]}).decode()


def _search_call(item: Mapping[str, Any]) -> tuple[str, str] | None:
    return ("tool_search", orjson.dumps(item.get("arguments") or {}).decode()) if item.get("call_id") else None


_CALLS: Mapping[str, Callable[[Mapping[str, Any]], tuple[str, str] | None]] = {
    "function_call": _function_call,
    "custom_tool_call": _custom_call,
    "local_shell_call": _action("local_shell", "type"),
    "shell_call": _action("shell"),
    "apply_patch_call": _patch_call,
    "tool_search_call": _search_call,
}


def _parsed(arguments: str) -> dict[str, Any]:
    try:
        given = orjson.loads(arguments or "{}")
    except orjson.JSONDecodeError:
        return {}
    return given if isinstance(given, dict) else {}


def _strings(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value] if value is not None else []
    return [item if isinstance(item, str) else orjson.dumps(item).decode() for item in values]


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(type(value).__name__)
    return value
