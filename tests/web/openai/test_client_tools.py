"""Tools of the Responses API, as functions, and calls of these as items."""

from __future__ import annotations

from typing import Any

import pytest

from web.openai.client_calls import call_fields
from web.openai.client_tools import Called, ToolSet, tools_in

F = {"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}, "strict": False}
GRAMMAR = {"type": "grammar", "syntax": "lark", "definition": "start: X"}


def test_functions_stay_as_they_are() -> None:
    """A function is passed on unchanged, and its calls are function calls."""
    tools = ToolSet.of([F])
    assert tools.functions == {"f": {"type": "function", "function": {k: v for k, v in F.items() if k != "type"}}}
    assert (tools.called, tools.left_out) == ({}, [])


def test_custom_tool() -> None:
    """A custom tool is a function with one text, described with its grammar."""
    tools = ToolSet.of([{"type": "custom", "name": "patch", "description": "Edit", "format": GRAMMAR}])
    function = tools.functions["patch"]["function"]
    assert "Edit" in function["description"]
    assert "start: X" in function["description"]
    assert function["parameters"]["required"] == ["input"]
    assert tools.called == {"patch": Called("custom", "patch")}


def test_namespace() -> None:
    """The tools of a namespace get its name before their own, within the length that servers accept."""
    inner = [F, {"type": "custom", "name": "c" * 80}]
    tools = ToolSet.of([{"type": "namespace", "name": "mcp.docs", "tools": inner}])
    plain, long = tools.functions
    assert plain == "mcp_docs__f"
    assert len(long) == 64
    assert tools.called == {plain: Called("function", "f", "mcp.docs"), long: Called("custom", "c" * 80, "mcp.docs")}


@pytest.mark.parametrize("kind", ["local_shell", "shell", "apply_patch"])
def test_built_in_tools(kind: str) -> None:
    """The tools that the API defines for clients are functions of their names."""
    tools = ToolSet.of([{"type": kind}])
    assert list(tools.functions) == [kind]
    assert tools.called == {kind: Called(kind)}


@pytest.mark.parametrize(
    "tool",
    [
        {"type": "web_search"},
        {"type": "code_interpreter", "container": {"type": "auto"}},
        {"type": "mcp", "server_label": "s"},
        {"type": "shell", "environment": {"type": "container_auto"}},
        {"type": "tool_search"},
        {"type": "image_generation"},
    ],
    ids=lambda tool: tool["type"],
)
def test_tools_of_a_server(tool: dict[str, Any]) -> None:
    """A tool that OpenAI's servers would run is left out and named."""
    tools = ToolSet.of([tool, F])
    assert (list(tools.functions), tools.left_out) == (["f"], [tool["type"]])


def test_search_of_the_client() -> None:
    """With a search of the client's, deferred tools wait until it has found them."""
    search = {"type": "tool_search", "execution": "client", "parameters": {"type": "object", "x": 1}}
    deferred = {**F, "name": "g", "defer_loading": True}
    tools = ToolSet.of([search, deferred, F])
    assert list(tools.functions) == ["tool_search", "f"]
    assert tools.functions["tool_search"]["function"]["parameters"] == {"type": "object", "x": 1}
    found = tools_in([{"type": "tool_search_output", "call_id": "c", "tools": [deferred]}, {"role": "user"}])
    assert list(ToolSet.of([search, deferred, *found]).functions) == ["tool_search", "g"]


def test_tools_in_the_input() -> None:
    """Tools that come as an item count like those of the request."""
    assert list(ToolSet.of(tools_in([{"type": "additional_tools", "tools": [F]}])).functions) == ["f"]


@pytest.mark.parametrize(
    ("called", "arguments", "fields"),
    [
        (Called("function", "f"), "{", {"type": "function_call", "name": "f", "arguments": "{"}),
        (
            Called("function", "f", "n"),
            "{}",
            {"type": "function_call", "name": "f", "namespace": "n", "arguments": "{}"},
        ),
        (Called("custom", "p"), '{"input":"x"}', {"type": "custom_tool_call", "name": "p", "input": "x"}),
        (Called("custom", "p"), "x", {"type": "custom_tool_call", "name": "p", "input": "x"}),
        (
            Called("local_shell"),
            '{"command":["ls"],"timeout_ms":5}',
            {"type": "local_shell_call", "action": {"env": {}, "timeout_ms": 5, "type": "exec", "command": ["ls"]}},
        ),
        (
            Called("shell"),
            '{"commands":"ls"}',
            {"type": "shell_call", "action": {"commands": ["ls"], "timeout_ms": None, "max_output_length": None}},
        ),
        (
            Called("apply_patch"),
            '{"operation":{"type":"delete_file","path":"a"}}',
            {"type": "apply_patch_call", "operation": {"type": "delete_file", "path": "a"}},
        ),
        (
            Called("apply_patch"),
            '{"operation"',
            {"type": "apply_patch_call", "operation": {"type": "update_file", "path": "", "diff": ""}},
        ),
        (
            Called("tool_search"),
            '{"query":"x"}',
            {"type": "tool_search_call", "execution": "client", "arguments": {"query": "x"}},
        ),
    ],
)
def test_calls(called: Called, arguments: str, fields: dict[str, Any]) -> None:
    """A call is an item of its tool's type, as far as its arguments can be read."""
    assert call_fields(called, arguments) == fields
