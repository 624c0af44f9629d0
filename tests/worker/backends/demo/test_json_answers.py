"""The demo where JSON is asked for: tool calls and structured answers, so that both can be tried without a model."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from spool.models.model import DEMO
from worker.backends import BackendError, Finish, GenerationRequest, Piece, Text, ToolCall, Usage
from worker.backends.demo.backend import Demo
from worker.backends.demo.json_answers import MAX_BYTES, MAX_VALUES, fitting

WEATHER = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}
TIME = {"type": "function", "function": {"name": "time"}}
OTHERS = [
    {"type": "function", "function": {"name": name}} for name in ("get_forecast", "readMailBox", "get_forecast_map")
]


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
        ("Forecasts for Rome", None, ["get_forecast"]),
        ("Read my mail", None, ["readMailBox"]),
        ("forecasting; get it for all", None, []),
        ("weather and time", "none", []),
        ("How is Rome?", None, []),
        ("How is Rome?", {"type": "function", "function": {"name": "nothing"}}, []),
    ],
)
def test_what_is_called(prompt: str, choice: Any, expected: list[str]) -> None:
    """It calls what the choice forces, or what the prompt names."""
    pieces = generate(prompt, tools=[WEATHER, TIME, *OTHERS], **({"tool_choice": choice} if choice else {}))
    assert list(called(pieces)) == expected
    assert pieces[-1] == Finish("tool_calls" if expected else "stop")
    assert isinstance(pieces[-2], Usage)
    assert bool(expected) is not any(isinstance(piece, Text) for piece in pieces)


def test_name_with_a_prefix() -> None:
    """A prompt means a function also by its name without the prefix that a framework puts before it."""
    function = {"name": "plugin-get_weather", "parameters": {"type": "object"}}
    pieces = generate("Ask get_weather about Oslo", tools=[{"type": "function", "function": function}])
    assert list(called(pieces)) == ["plugin-get_weather"]


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
            {"a": 9, "b": 7},
        ),
        ({"type": "object", "properties": {"a": {}, "b": {}}, "required": ["b", "c", []]}, {"b": "Oslo"}),
        ({"type": "number", "minimum": 8.5}, 9),
        ({"type": "number", "maximum": 0.5}, 0),
        ({"type": "integer", "minimum": 1e300}, 7),
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


def multiplying(width: int, levels: int, leaf: Any) -> dict[str, Any]:
    """A schema whose value has ``width ** levels`` leaves."""
    defs: dict[str, Any] = {"L0": leaf}
    for level in range(1, levels + 1):
        one = {"$ref": f"#/$defs/L{level - 1}"}
        defs[f"L{level}"] = {"type": "object", "properties": {f"p{n}": one for n in range(width)}}
    return {"$ref": f"#/$defs/L{levels}", "$defs": defs}


@pytest.mark.parametrize(
    "schema",
    [
        multiplying(30, 4, {"type": "string"}),
        multiplying(10, 3, {"const": "x" * 1000}),
        multiplying(10, 3, {"enum": [["x" * 1000]]}),
        {"type": "object", "properties": {f"p{n}": {} for n in range(MAX_VALUES)}},
        {"type": "object", "properties": {"n" * (MAX_BYTES + 1): {}}},
    ],
    ids=["references", "constants", "enums", "properties", "a name"],
)
def test_schema_that_multiplies(schema: dict[str, Any]) -> None:
    """A schema that asks for more than a bounded number of values and bytes ends its job, before these are made."""
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    tools = [{"type": "function", "function": {"name": "f", "parameters": schema}}]
    for params in ({"response_format": form}, {"tools": tools, "tool_choice": "required"}):
        with pytest.raises(BackendError) as caught:
            generate("x", **params)
        assert (caught.value.code, caught.value.retryable) == ("invalid_params", False)
        assert f"{MAX_VALUES} values" in caught.value.message


def test_calls_share_one_bound() -> None:
    """Many calls may not make together what one of them may not."""
    schema = {"type": "array", "items": {"const": "x" * 1000}}
    tools = [{"type": "function", "function": {"name": f"f{n}", "parameters": schema}} for n in range(100)]
    prompt = " ".join(f"f{n}" for n in range(100))
    assert len(called(generate(prompt, tools=tools[:10]))) == 10
    with pytest.raises(BackendError):
        generate(prompt, tools=tools)


def test_word_of_a_long_prompt_is_short() -> None:
    """A prompt that is one long word does not come back with each value."""
    schema = {"type": "object", "properties": {f"p{n}": {} for n in range(100)}}
    assert len(fitting(schema, "x" * 100_000)) < MAX_BYTES


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"response_format": {"type": "json_schema", "json_schema": "x"}}, "Oslo"),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": [1]}}}, "Oslo"),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": {"$ref": {"a": 1}}}}}, None),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": {"anyOf": 7, "enum": {}}}}}, "Oslo"),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": {"properties": 1}}}}, "Oslo"),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"schema": {"type": "integer", "minimum": "x"}},
                }
            },
            7,
        ),
    ],
)
def test_schema_of_the_wrong_shape(params: dict[str, Any], expected: Any) -> None:
    """What is no schema is not followed, and breaks nothing."""
    text = "".join(piece.text for piece in generate("In Oslo", **params) if isinstance(piece, Text))
    assert orjson.loads(text) == expected


def test_tool_choice_of_the_wrong_shape() -> None:
    """A choice that names no function calls none."""
    assert called(generate("weather", tools=[WEATHER], tool_choice={"function": "weather"})) == {}


def test_structured_answer() -> None:
    """With a JSON schema, the answer's text is JSON of that shape."""
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": WEATHER["function"]["parameters"]}}  # type: ignore[index]
    text = "".join(piece.text for piece in generate("In Oslo", response_format=form) if isinstance(piece, Text))
    assert orjson.loads(text) == {"city": "Oslo"}
    text = "".join(
        piece.text for piece in generate("x", response_format={"type": "json_object"}) if isinstance(piece, Text)
    )
    assert orjson.loads(text) == {}
