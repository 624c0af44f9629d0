"""Tools of the Responses API, as functions of a chat completion.

Chat models know functions alone. Tools that the client runs become functions, and calls of them become items of their
own types again (``web.openai.client_calls``). Tools that OpenAI's servers run (web search, code interpreter, …) are
left out, and the response says so.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from web.time_slices import in_slices

_NAME_CHARACTERS = 64
_NO_NAME = re.compile(r"[^a-zA-Z0-9_-]")
_INPUT = {"input": {"type": "string", "description": "The input of the tool, as free text"}}
_STRINGS = {"type": "array", "items": {"type": "string"}}


def _schema(required: list[str], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required}


_OPERATION = _schema(
    ["type", "path"],
    type={"type": "string", "enum": ["create_file", "update_file", "delete_file"]},
    path={"type": "string"},
    diff={"type": "string", "description": "The change as a V4A diff; not for delete_file"},
)
_BUILT_IN: Mapping[str, tuple[str, dict[str, Any]]] = {
    "local_shell": (
        "Run a command on the user's computer.",
        _schema(
            ["command"],
            command={**_STRINGS, "description": "The program and its arguments"},
            working_directory={"type": "string"},
            timeout_ms={"type": "integer"},
            env={"type": "object", "additionalProperties": {"type": "string"}},
        ),
    ),
    "shell": (
        "Run shell commands on the user's computer.",
        _schema(
            ["commands"],
            commands={**_STRINGS, "description": "Commands, each a whole line of shell"},
            timeout_ms={"type": "integer"},
            max_output_length={"type": "integer"},
        ),
    ),
    "apply_patch": ("Create, update or delete a file.", _schema(["operation"], operation=_OPERATION)),
    "tool_search": ("Find further tools by what they do.", _schema(["query"], query={"type": "string"})),
}
"""The tools that the API defines and the client runs: their descriptions and parameters."""


@dataclass(frozen=True, slots=True)
class Called:
    """What a function stands for: the type of the tool, its own name, and its namespace or an empty string."""

    type: str
    name: str = ""
    namespace: str = ""

    @property
    def function(self) -> str:
        """The name of the function."""
        if self.type in _BUILT_IN:
            return self.type
        name = f"{self.namespace}__{self.name}" if self.namespace else self.name
        if self.type == "function" and not self.namespace:
            return name
        name = _NO_NAME.sub("_", name)
        if len(name) <= _NAME_CHARACTERS:
            return name
        return f"{name[: _NAME_CHARACTERS - 9]}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"


@dataclass(slots=True)
class ToolSet:
    """The tools of one request. ``functions`` are those of the chat completion; ``called`` has what differs from a
    plain function, by the function's name; ``left_out`` has the types of tools that Spool does not run."""

    functions: dict[str, dict[str, Any]] = field(default_factory=dict)
    called: dict[str, Called] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, tools: Iterable[Mapping[str, Any]]) -> ToolSet:
        """The set of these tools. A tool that comes twice counts once, as it came last."""
        all_tools = list(tools)
        has_search = any(_is_client_search(tool) for tool in all_tools)
        found = cls()
        for tool in in_slices(all_tools):
            found._add(tool, has_search)
        return found

    def _add(self, tool: Mapping[str, Any], has_search: bool, namespace: str = "") -> None:
        kind, name = str(tool.get("type")), str(tool.get("name") or "")
        if has_search and tool.get("defer_loading"):
            # The client's search gives it to the model once it is found.
            return
        if kind == "namespace":
            for inner in _objects(tool.get("tools")):
                self._add(inner, has_search, namespace=name)
        elif kind in ("function", "custom") and name:
            self._put(Called(kind, name, namespace), _function(tool) if kind == "function" else _custom(tool))
        elif kind in _BUILT_IN and not _is_hosted(tool):
            self._put(Called(kind), _built_in(tool))
        elif kind not in self.left_out:
            self.left_out.append(kind[:_NAME_CHARACTERS])

    def _put(self, called: Called, function: dict[str, Any]) -> None:
        name = called.function
        self.functions[name] = {"type": "function", "function": {"name": name, **function}}
        if called != Called("function", name):
            self.called[name] = called


def tools_in(items: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """The tools that come as items of the input: those that a search has found, and additional ones."""
    for item in items:
        if item.get("type") in ("tool_search_output", "additional_tools"):
            # Found tools may be called, whether or not they were deferred.
            yield from ({**tool, "defer_loading": False} for tool in _objects(item.get("tools")))


def _objects(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _is_client_search(tool: Mapping[str, Any]) -> bool:
    return tool.get("type") == "tool_search" and not _is_hosted(tool)


def _is_hosted(tool: Mapping[str, Any]) -> bool:
    """Whether OpenAI's servers would run the tool."""
    if tool.get("type") == "tool_search":
        return tool.get("execution") != "client"
    environment = tool.get("environment")
    return isinstance(environment, dict) and str(environment.get("type")).startswith("container")


def _function(tool: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tool[name] for name in ("description", "parameters", "strict") if tool.get(name) is not None}


def _custom(tool: Mapping[str, Any]) -> dict[str, Any]:
    description, form = str(tool.get("description") or ""), tool.get("format")
    if isinstance(form, dict) and form.get("type") == "grammar":
        description += f"\n\nThe input must match this {form.get('syntax')} grammar:\n{form.get('definition')}"
    return {"description": description, "parameters": _schema(["input"], **_INPUT)}


def _built_in(tool: Mapping[str, Any]) -> dict[str, Any]:
    description, parameters = _BUILT_IN[str(tool["type"])]
    own = tool.get("parameters")
    return {
        "description": str(tool.get("description") or description),
        "parameters": own if isinstance(own, dict) else parameters,
    }
