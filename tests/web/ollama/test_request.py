"""A request of Ollama's clients as a chat completion."""

from __future__ import annotations

from typing import Any

import pytest

from web.intake.shapes import checked
from web.ollama.request import OllamaChat, chat_messages
from web.problems import Problem


def asked(*messages: dict[str, Any], **fields: Any) -> OllamaChat:
    """A chat with these messages."""
    return checked(OllamaChat, {"model": "m", "messages": [*messages], **fields})


def test_results_answer_their_calls() -> None:
    """Calls without ids get some; a result answers the open call of its name, or else the first one."""
    calls = [{"function": {"name": name, "arguments": {"x": 1}}} for name in ("one", "two")]
    messages = chat_messages(
        asked(
            {"role": "assistant", "content": "", "tool_calls": calls, "thinking": "Hm"},
            {"role": "tool", "tool_name": "two", "content": "2"},
            {"role": "tool", "content": "1"},
            {"role": "tool", "content": "more"},
        ).messages
    )
    ids = [call["id"] for call in messages[0]["tool_calls"]]
    assert len(set(ids)) == 2
    assert messages[0]["reasoning_content"] == "Hm"
    assert messages[0]["tool_calls"][0]["function"] == {"name": "one", "arguments": '{"x":1}'}
    assert [(said["tool_call_id"], said["content"]) for said in messages[1:]] == [
        (ids[1], "2"),
        (ids[0], "1"),
        ("call", "more"),
    ]


def test_pictures() -> None:
    """Pictures become parts, with the type that their bytes tell."""
    (message,) = chat_messages(asked({"role": "user", "content": "See", "images": ["/9j/4AAQ"]}).messages)
    assert message["content"] == [
        {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,/9j/4AAQ"}},
        {"type": "text", "text": "See"},
    ]


def test_options() -> None:
    """Options that chat completions have are passed on by their names; no limit of tokens is none."""
    options = {"num_predict": 9, "temperature": 0.5, "stop": ["x"], "num_ctx": 4096}
    assert asked(options=options, think="high", format="json").params() == {
        "max_tokens": 9,
        "temperature": 0.5,
        "stop": ["x"],
        "reasoning_effort": "high",
        "response_format": {"type": "json_object"},
    }
    assert asked(options={"num_predict": -1}).params() == {}
    schema = asked(format={"type": "object"}).params()["response_format"]
    assert schema == {"type": "json_schema", "json_schema": {"name": "output", "schema": {"type": "object"}}}


@pytest.mark.parametrize(
    "message",
    [{"role": "developer"}, {"role": "user", "content": [1]}, {"role": "assistant", "tool_calls": [{}]}],
    ids=["role", "content", "call"],
)
def test_wrong_message_is_refused(message: dict[str, Any]) -> None:
    """A message of another shape is refused by its path."""
    with pytest.raises(Problem) as raised:
        asked(message)
    assert raised.value.extra["errors"][0]["field"].startswith("messages[0].")
