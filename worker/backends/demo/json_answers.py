"""The demo's JSON answers: values that fit a schema, and calls of the caller's functions.

A schema of a few kilobytes can describe gigabytes (references that multiply), so values are counted while they are
created. One answer with all its calls may have ``MAX_VALUES`` values and ``MAX_BYTES`` of text; more is an error.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from spool.models.demo_params import DemoParams
from worker.backends import BackendError

MAX_VALUES = 2000
MAX_BYTES = 64 * 1024
_DEPTH = 8
_LARGEST = 2**53
_READ_CHARACTERS = 8192
"""Part of a prompt that is searched for names of functions and for a word to answer with."""
_WORD_CHARACTERS = 80
_NAMES = re.compile(r"\b[A-Z][\w-]+")
_NAME_PARTS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_NO_SUBJECT = frozenset(
    ["all", "and", "call", "for", "from", "function", "get", "new", "set", "the", "to", "tool", "with"]
)
"""Parts of names that say nothing about what a function does."""


class _Budget:
    """The remaining values and bytes of one answer."""

    def __init__(self) -> None:
        self._values = MAX_VALUES
        self._bytes = MAX_BYTES

    def spend(self, size: int) -> None:
        """Count one more value of ``size`` bytes. Raises ``BackendError`` beyond the limits."""
        self._values -= 1
        self._bytes -= size
        if self._values < 0 or self._bytes < 0:
            message = f"the requested JSON exceeds the demo's limit of {MAX_VALUES} values or {MAX_BYTES} bytes"
            raise BackendError("invalid_params", message, retryable=False)


def calls(params: DemoParams, messages: Sequence[Mapping[str, Any]], prompt: str) -> list[tuple[str, str]]:
    """The functions to call for this prompt, each with its arguments as JSON text. Raises ``BackendError``."""
    if params.tool_choice == "none" or (messages and messages[-1].get("role") == "tool"):
        return []
    functions = [tool["function"] for tool in params.tools if isinstance(tool.get("function"), dict)]
    if isinstance(params.tool_choice, dict):
        name = _table(params.tool_choice.get("function")).get("name")
        named = [function for function in functions if function.get("name") == name]
    else:
        read = prompt[:_READ_CHARACTERS]
        named = [function for function in functions if _name_of(function) in read] or _meant(functions, read)
        if params.tool_choice == "required":
            named = named or functions[:1]
    budget = _Budget()
    return [_call(function, prompt, budget) for function in named]


def _meant(functions: Sequence[Any], read: str) -> list[Any]:
    """The function of whose name the prompt says the most parts, as words of its own; the first of several."""
    words = set(re.findall(r"[^\W_]+", read.lower()))
    counts = [sum(not words.isdisjoint((part, f"{part}s")) for part in _parts(function)) for function in functions]
    most = max(counts, default=0)
    return [functions[counts.index(most)]] if most else []


def _parts(function: Mapping[str, Any]) -> set[str]:
    return {part.lower() for part in _NAME_PARTS.findall(_name_of(function))} - _NO_SUBJECT


def _call(function: Mapping[str, Any], prompt: str, budget: _Budget) -> tuple[str, str]:
    name = _name_of(function)
    budget.spend(len(name))
    return name, _fitting(_table(function.get("parameters")), prompt, budget)


def _name_of(function: Mapping[str, Any]) -> str:
    name = function.get("name")
    return name if isinstance(name, str) else "unnamed"


def wanted_json(params: DemoParams, prompt: str) -> str | None:
    """The answer as JSON text, or None if the request is not for JSON. Raises ``BackendError``."""
    form = params.response_format or {}
    if form.get("type") == "json_schema":
        return fitting(_table(_table(form.get("json_schema")).get("schema")), prompt)
    return fitting({"type": "object"}, prompt) if form.get("type") == "json_object" else None


def fitting(schema: Mapping[str, Any], prompt: str) -> str:
    """JSON text that fits the schema's types and required properties. Raises ``BackendError``."""
    return _fitting(schema, prompt, _Budget())


def _fitting(schema: Mapping[str, Any], prompt: str, budget: _Budget) -> str:
    return orjson.dumps(_Maker(_word(prompt), _table(schema.get("$defs")), budget).value(schema, _DEPTH)).decode()


class _Maker:
    """Creates values for the schemas of one document."""

    def __init__(self, word: str, defs: Mapping[str, Any], budget: _Budget) -> None:
        self._word = word
        self._defs = defs
        self._budget = budget

    def value(self, schema: Any, depth: int) -> Any:
        """A value for ``schema``; None below ``depth`` levels."""
        self._budget.spend(len(self._word))
        if not isinstance(schema, dict) or depth == 0:
            return None
        if "$ref" in schema:
            ref = schema["$ref"]
            return self.value(self._defs.get(ref.rpartition("/")[2]) if isinstance(ref, str) else None, depth - 1)
        for choice in ("enum", "anyOf", "oneOf", "allOf"):
            choices = schema.get(choice)
            if isinstance(choices, list) and choices:
                return self._given(choices[0]) if choice == "enum" else self.value(choices[0], depth - 1)
        if "const" in schema:
            return self._given(schema["const"])
        return self._of_type(schema, depth)

    def _of_type(self, schema: Mapping[str, Any], depth: int) -> Any:
        kind = schema.get("type")
        match kind[0] if isinstance(kind, list) and kind else kind:
            case "object":
                properties, required = _table(schema.get("properties")), schema.get("required")
                if isinstance(required, list):
                    # Many schemas leave it out and mean all.
                    names = {name for name in required if isinstance(name, str)}
                    properties = {name: one for name, one in properties.items() if name in names}
                return {self._name(name): self.value(one, depth - 1) for name, one in properties.items()}
            case "array":
                return [self.value(schema["items"], depth - 1)] if schema.get("items") else []
            case "integer" | "number":
                return _whole_number(schema)
            case "boolean":
                return True
            case "null":
                return None
        return self._word

    def _name(self, name: str) -> str:
        self._budget.spend(len(name))
        return name

    def _given(self, value: Any) -> Any:
        """A value taken from the schema itself, which may be as large as the schema."""
        self._budget.spend(len(orjson.dumps(value)))
        return value


def _whole_number(schema: Mapping[str, Any]) -> int:
    """7, or the whole number nearest to it within the schema's limits."""
    least, most = _limit(schema.get("minimum")), _limit(schema.get("maximum"))
    number = 7 if least is None else max(7, math.ceil(least))
    return number if most is None else min(number, math.floor(most))


def _limit(value: Any) -> float | None:
    """The limit, if it is a number that JSON's readers represent exactly."""
    return value if type(value) in (int, float) and abs(value) <= _LARGEST else None


def _table(value: Any) -> Mapping[str, Any]:
    """The value if it is an object, otherwise an empty one."""
    return value if isinstance(value, dict) else {}


def _word(prompt: str) -> str:
    """The last name in the prompt's end, or its last word."""
    read = prompt[-_READ_CHARACTERS:]
    names: list[str] = _NAMES.findall(read)
    words = names or read.split() or ["demo"]
    return words[-1][:_WORD_CHARACTERS].strip(".,?!")
