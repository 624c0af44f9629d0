"""What the demo says where JSON is asked for: values that fit a schema, and calls of the caller's functions."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from spool.demo_params import DemoParams

_DEPTH = 8
_NAMES = re.compile(r"\b[A-Z][\w-]+")


def calls(params: DemoParams, messages: Sequence[Mapping[str, Any]], prompt: str) -> list[tuple[str, str]]:
    """The functions that are called for this prompt, each with its arguments as JSON text."""
    if params.tool_choice == "none" or (messages and messages[-1].get("role") == "tool"):
        return []
    functions = [tool["function"] for tool in params.tools if isinstance(tool.get("function"), dict)]
    named = [function for function in functions if str(function.get("name")) in prompt]
    if isinstance(params.tool_choice, dict):
        name = (params.tool_choice.get("function") or {}).get("name")
        named = [function for function in functions if function.get("name") == name]
    elif params.tool_choice == "required":
        named = named or functions[:1]
    return [(str(f.get("name")), fitting(f.get("parameters") or {}, prompt)) for f in named]


def wanted_json(params: DemoParams, prompt: str) -> str | None:
    """The answer as JSON text, if that is what is asked for."""
    form = params.response_format or {}
    if form.get("type") == "json_schema":
        return fitting((form.get("json_schema") or {}).get("schema") or {}, prompt)
    return fitting({"type": "object"}, prompt) if form.get("type") == "json_object" else None


def fitting(schema: Mapping[str, Any], prompt: str) -> str:
    """JSON text that fits the schema, as far as its types and required properties go."""
    return orjson.dumps(_value(schema, _word(prompt), schema.get("$defs") or {}, _DEPTH)).decode()


def _value(schema: Any, word: str, defs: Mapping[str, Any], depth: int) -> Any:
    if not isinstance(schema, dict) or depth == 0:
        return None
    if "$ref" in schema:
        return _value(defs.get(str(schema["$ref"]).rpartition("/")[2]), word, defs, depth - 1)
    for choice in ("enum", "anyOf", "oneOf", "allOf"):
        if schema.get(choice):
            first = schema[choice][0]
            return first if choice == "enum" else _value(first, word, defs, depth - 1)
    if "const" in schema:
        return schema["const"]
    kind = schema.get("type")
    match kind[0] if isinstance(kind, list) and kind else kind:
        case "object":
            return {name: _value(one, word, defs, depth - 1) for name, one in (schema.get("properties") or {}).items()}
        case "array":
            return [_value(schema.get("items"), word, defs, depth - 1)] if schema.get("items") else []
        case "integer":
            return max(7, schema.get("minimum", 7))
        case "number":
            return 7.5
        case "boolean":
            return True
        case "null":
            return None
    return word


def _word(prompt: str) -> str:
    """Something of the prompt: the last name in it, or its last word."""
    names: list[str] = _NAMES.findall(prompt)
    words = names or prompt.split() or ["demo"]
    return words[-1].strip(".,?!")
