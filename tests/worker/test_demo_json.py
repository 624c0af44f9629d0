"""The demo where JSON is asked for: tool calls and structured answers, so that both can be tried without a model."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from spool.models import DEMO
from worker.backends import Finish, GenerationRequest, Piece, Text, ToolCall, Usage
from worker.backends.demo import Demo
from worker.backends.demo_json import fitting

WEATHER = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}
TIME = {"type": "function", "function": {"name": "time"}}


def generate(prompt: str, role: str = "user", **params: Any) -> list[Piece]:
    """All the pieces of an answer."""
    messages = [{"role": role, "content": prompt}]
    request = GenerationRequest("j", DEMO, messages, {"rate": 0, "first_token_s": 0, **params})
    return list(Demo().generate(request))


def called(pieces: list[Piece]) -> dict[str, str]:
    """Names of the calls, and their arguments."""
    names: dict[int, str] = {}
    arguments: dict[int, str] = {}
    for piece in pieces:
        if isinstance(piece, ToolCall):
            names.setdefault(piece.index, piece.name or "")
            arguments[piece.index] = arguments.get(piece.index, "") + piece.arguments
    return {name: arguments[index] for index, name in names.items()}


@pytest.mark.parametrize(
    ("prompt", "choice", "expected"),
    [
        ("How is Rome?", "required", ["weather"]),
        ("How is Rome?", {"type": "function", "function": {"name": "time"}}, ["time"]),
        ("weather and time", "auto", ["weather", "time"]),
        ("the weather", None, ["weather"]),
        ("weather and time", "none", []),
        ("How is Rome?", None, []),
        ("How is Rome?", {"type": "function", "function": {"name": "nothing"}}, []),
    ],
)
def test_what_is_called(prompt: str, choice: Any, expected: list[str]) -> None:
    """It calls what the choice forces, or what the prompt names."""
    pieces = generate(prompt, tools=[WEATHER, TIME], **({"tool_choice": choice} if choice else {}))
    assert list(called(pieces)) == expected
    assert pieces[-1] == Finish("tool_calls" if expected else "stop")
    assert isinstance(pieces[-2], Usage)
    assert bool(expected) is not any(isinstance(piece, Text) for piece in pieces)


def test_arguments_fit_the_parameters() -> None:
    """The arguments are JSON that the function's parameters allow, with a word of the prompt in it."""
    arguments = called(generate("How is Rome today?", tools=[WEATHER], tool_choice="required"))["weather"]
    assert orjson.loads(arguments) == {"city": "Rome"}


def test_result_of_a_call_is_answered_in_text() -> None:
    """After a tool's result comes text, whatever the choice."""
    pieces = generate("weather: sunny", role="tool", tools=[WEATHER], tool_choice="required")
    assert called(pieces) == {}
    assert "weather: sunny" in "".join(piece.text for piece in pieces if isinstance(piece, Text))


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (
            {"type": "object", "properties": {"a": {"type": "integer", "minimum": 9}, "b": {"type": "number"}}},
            {"a": 9, "b": 7.5},
        ),
        ({"type": "array", "items": {"enum": ["x", "y"]}}, ["x"]),
        ({"type": ["boolean", "null"]}, True),
        ({"anyOf": [{"type": "null"}, {"type": "string"}]}, None),
        ({"$ref": "#/$defs/A", "$defs": {"A": {"const": 3}}}, 3),
        ({"$ref": "#/$defs/A", "$defs": {"A": {"type": "array", "items": {"$ref": "#/$defs/A"}}}}, [[[[None]]]]),
        ({"type": "string"}, "Oslo"),
        ({}, "Oslo"),
    ],
)
def test_json_that_fits(schema: dict[str, Any], expected: Any) -> None:
    """A value of each type; what refers to itself has an end."""
    assert orjson.loads(fitting(schema, "in Oslo?")) == expected


def test_structured_answer() -> None:
    """With a JSON schema, the answer's text is JSON of that shape."""
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": WEATHER["function"]["parameters"]}}  # type: ignore[index]
    text = "".join(piece.text for piece in generate("In Oslo", response_format=form) if isinstance(piece, Text))
    assert orjson.loads(text) == {"city": "Oslo"}
    text = "".join(
        piece.text for piece in generate("x", response_format={"type": "json_object"}) if isinstance(piece, Text)
    )
    assert orjson.loads(text) == {}
