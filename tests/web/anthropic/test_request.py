"""A request for a message as a chat completion."""

from __future__ import annotations

from typing import Any

import pytest

from web.anthropic.request import MessageParam, MessagesRequest, chat_messages
from web.intake.shapes import checked
from web.problems import Problem

ASK: dict[str, Any] = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}


def said(role: str, *blocks: dict[str, Any]) -> list[dict[str, Any]]:
    """The chat messages of one message with these blocks."""
    return chat_messages([MessageParam.model_validate({"role": role, "content": list(blocks)})])


def test_text_blocks_are_plain_text() -> None:
    """Text alone is sent as text, because not every server accepts parts."""
    assert said("user", {"type": "text", "text": "a"}, {"type": "text", "text": "b"}) == [
        {"role": "user", "content": "a\n\nb"}
    ]


def test_results_come_before_the_rest() -> None:
    """A tool's text answers its call; its picture becomes the user's."""
    source = {"type": "url", "url": "https://example.org/a.png"}
    content = [{"type": "text", "text": "ok"}, {"type": "image", "source": source}]
    blocks = [{"type": "text", "text": "See."}, {"type": "tool_result", "tool_use_id": "t", "content": content}]
    assert said("user", *blocks) == [
        {"role": "tool", "tool_call_id": "t", "content": "ok"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "See."},
                {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
            ],
        },
    ]


def test_system_message_keeps_its_place() -> None:
    """A system message between the others stays there, as its text."""
    texts = [{"type": "text", "text": "a"}, {"type": "tool_removal"}, {"type": "text", "text": "b"}]
    assert said("system", *texts) == [{"role": "system", "content": "a\n\nb"}]
    assert said("system", {"type": "tool_removal"}) == []


def test_reference_to_a_tool_is_text() -> None:
    """The tools that a search found are named to the model, which knows no references."""
    found = {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "tool_reference", "tool_name": "Cron"}]}
    assert said("user", found) == [{"role": "tool", "tool_call_id": "t", "content": "The tool Cron is available."}]


def test_thinking_alone_is_no_message() -> None:
    """Thinking goes back only with the calls that it led to."""
    assert said("assistant", {"type": "thinking", "thinking": "Hm", "signature": ""}) == []
    text = said("assistant", {"type": "thinking", "thinking": "Hm"}, {"type": "text", "text": "a"})
    assert text == [{"role": "assistant", "content": "a"}]


@pytest.mark.parametrize(
    "block",
    [
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
        {"type": "image", "source": {"type": "file", "file_id": "f"}},
        {"type": "image"},
        {"type": "tool_result", "tool_use_id": 5, "content": [1, None, {"type": "text"}]},
        {"type": "search_result", "content": "text"},
        {"type": "nonsense", "content": {"a": []}},
    ],
    ids=lambda block: block["type"],
)
def test_any_block_is_taken(block: dict[str, Any]) -> None:
    """A block that means nothing to other models is left out, never refused."""
    for role in ("user", "assistant"):
        assert all(message["role"] in ("user", "tool", "assistant") for message in said(role, block))


def test_output_format() -> None:
    """A JSON schema for the output is a chat completion's response format."""
    form = {"type": "json_schema", "schema": {"type": "object"}}
    for fields in ({"output_format": form}, {"output_config": {"format": form}}):
        schema = checked(MessagesRequest, {**ASK, **fields}).params()["response_format"]["json_schema"]
        assert schema["schema"] == {"type": "object"}


def test_wrong_field_is_named() -> None:
    """A message with a wrong role is refused by its path."""
    with pytest.raises(Problem) as raised:
        checked(MessagesRequest, {**ASK, "messages": [{"role": "tool", "content": "x"}]})
    assert raised.value.extra["errors"][0]["field"] == "messages[0].role"
