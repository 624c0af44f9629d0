"""A run's input as a chat completion."""

from __future__ import annotations

from typing import Any

import pytest

from web.ag_ui.request import RunInput, chat_messages
from web.intake.shapes import checked
from web.problems import Problem


def asked(*messages: dict[str, Any], **fields: Any) -> RunInput:
    """A run with these messages."""
    return checked(RunInput, {"threadId": "t", "runId": "r", "messages": [*messages], **fields})


def test_conversation() -> None:
    """Messages keep their roles; calls and results keep their ids; what chats have no place for is left out."""
    call = {"id": "c", "type": "function", "function": {"name": "one", "arguments": '{"x":1}'}}
    said = chat_messages(
        asked(
            {"id": "1", "role": "system", "content": "Be brief."},
            {"id": "2", "role": "user", "content": "Hi"},
            {"id": "3", "role": "reasoning", "content": "Hm"},
            {"id": "4", "role": "assistant", "toolCalls": [call]},
            {"id": "5", "role": "tool", "toolCallId": "c", "content": "cold"},
            {"id": "6", "role": "activity", "content": {"a": 1}},
            {"id": "7", "role": "assistant", "content": ""},
        ).messages
    )
    assert said == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "cold"},
    ]


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image", "source": {"type": "data", "mimeType": "image/png", "value": "AA=="}},
        {"type": "binary", "mimeType": "image/png", "data": "AA=="},
    ],
    ids=["image", "binary"],
)
def test_pictures(part: dict[str, Any]) -> None:
    """Pictures become parts; text alone stays text."""
    text = {"type": "text", "text": "See"}
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    for content, expected in (([text], "See"), ([text, part], [text, picture]), ([{"type": "audio"}], "")):
        (message,) = chat_messages(asked({"id": "1", "role": "user", "content": content}).messages)
        assert message["content"] == expected


def test_tools_and_context() -> None:
    """Tools are functions, the context a system prompt, and the application's properties parameters."""
    run = asked(
        tools=[{"name": "one", "description": "d", "parameters": {"type": "object"}}],
        context=[{"description": "City", "value": "Oslo"}],
        forwardedProps={"model": "m", "params": {"temperature": 0.5}, "other": 1},
    )
    function = {"name": "one", "description": "d", "parameters": {"type": "object"}}
    assert run.params() == {"temperature": 0.5, "tools": [{"type": "function", "function": function}]}
    assert (run.instructions(), run.props.model) == ("City: Oslo", "m")


def test_wrong_field_is_named() -> None:
    """A run without its id is refused by that name."""
    with pytest.raises(Problem) as raised:
        checked(RunInput, {"threadId": "t", "messages": []})
    assert raised.value.extra["errors"][0]["field"] == "runId"
