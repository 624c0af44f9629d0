"""Input items, as chat messages."""

from __future__ import annotations

from typing import Any

import pytest

from spool.errors import ItemNotFound
from web.openai.client_tools import Called
from web.openai.listed_items import items_of, page_of
from web.openai.response_items import messages_of

USER = {"role": "user", "content": "go"}


def said(*items: dict[str, Any], keeps_reasoning: bool = False) -> list[dict[str, Any]]:
    """The messages of these items, behind a question."""
    sealed = {"sealed": "thought"}.get
    return messages_of([USER, *items], lambda _id, _field: None, sealed, keeps_reasoning=keeps_reasoning)[1:]


def call(name: str, arguments: str, call_id: str = "c") -> dict[str, Any]:
    """A call in a chat message."""
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


CALLS: list[tuple[dict[str, Any], str, str]] = [
    ({"type": "function_call", "name": "f", "arguments": "{}"}, "f", "{}"),
    ({"type": "function_call", "name": "f", "namespace": "n", "arguments": "{}"}, "n__f", "{}"),
    ({"type": "custom_tool_call", "name": "patch", "input": "*** a"}, "patch", '{"input":"*** a"}'),
    ({"type": "shell_call", "action": {"commands": ["ls"], "timeout_ms": None}}, "shell", '{"commands":["ls"]}'),
    (
        {"type": "local_shell_call", "action": {"type": "exec", "command": ["ls"], "env": {}}},
        "local_shell",
        '{"command":["ls"],"env":{}}',
    ),
    (
        {"type": "apply_patch_call", "operation": {"type": "delete_file", "path": "a"}},
        "apply_patch",
        '{"operation":{"type":"delete_file","path":"a"}}',
    ),
    ({"type": "tool_search_call", "execution": "client", "arguments": {"query": "x"}}, "tool_search", '{"query":"x"}'),
]


@pytest.mark.parametrize(("item", "name", "arguments"), CALLS, ids=lambda value: str(value)[:28])
def test_calls(item: dict[str, Any], name: str, arguments: str) -> None:
    """Each call that a client ran is the call of a function."""
    (message,) = said({**item, "call_id": "c"})
    assert message == {"role": "assistant", "content": None, "tool_calls": [call(name, arguments)]}


@pytest.mark.parametrize(
    ("item", "content"),
    [
        ({"type": "function_call_output", "output": "ok"}, "ok"),
        ({"type": "custom_tool_call_output", "output": [{"type": "input_text", "text": "ok"}]}, "ok"),
        ({"type": "local_shell_call_output", "output": "ok"}, "ok"),
        ({"type": "shell_call_output", "output": [{"stdout": "ok"}]}, '[{"stdout":"ok"}]'),
        ({"type": "apply_patch_call_output", "status": "completed"}, "completed"),
        (
            {"type": "tool_search_output", "tools": [{"type": "function", "name": "f", "description": "d"}]},
            '{"tools":[{"name":"f","description":"d"}]}',
        ),
    ],
    ids=lambda value: value["type"] if isinstance(value, dict) else "",
)
def test_outputs(item: dict[str, Any], content: str) -> None:
    """Each output is the message of a tool."""
    assert said({**item, "call_id": "c"}) == [{"role": "tool", "tool_call_id": "c", "content": content}]


@pytest.mark.parametrize(
    "item",
    [
        {"type": "web_search_call", "id": "ws_1", "status": "completed"},
        {"type": "additional_tools", "tools": []},
        {"type": "compaction", "encrypted_content": "another server's"},
        {"type": "computer_call_output", "call_id": "c", "output": {"type": "computer_screenshot"}},
        {"role": "user", "content": [{"type": "unknown", "data": "x"}]},
        {"type": "x"},
    ],
    ids=lambda item: item.get("type", "part"),
)
def test_items_without_a_message(item: dict[str, Any]) -> None:
    """What a chat message cannot express is left out."""
    assert said(item) == []


def test_compaction() -> None:
    """What Spool has compacted is a message of the user."""
    (message,) = said({"type": "compaction", "encrypted_content": "sealed"})
    assert message["role"] == "user"
    assert message["content"].endswith("thought")


def reasoning(text: str) -> dict[str, Any]:
    """An item of reasoning."""
    return {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": text}]}


F: dict[str, Any] = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
OUT: dict[str, Any] = {"type": "function_call_output", "call_id": "c", "output": "1"}
SAID: dict[str, Any] = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "a"}]}


@pytest.mark.parametrize(
    ("items", "thoughts"),
    [
        ([reasoning("1"), F, OUT, reasoning("2"), F], ["1", None, "2"]),
        ([reasoning("1"), SAID, F], ["1"]),
        ([SAID, reasoning("1"), F], ["1"]),
        ([reasoning("1"), SAID], [None]),
        ([SAID, reasoning("1"), SAID, F], [None, "1"]),
        ([reasoning("1"), USER, F], [None, None]),
        ([F, OUT, reasoning("1")], [None, None]),
    ],
)
def test_reasoning(items: list[dict[str, Any]], thoughts: list[str | None]) -> None:
    """Reasoning goes to the assistant's message that follows it, if that calls a tool."""
    assert [message.get("reasoning_content") for message in said(*items)] == thoughts


@pytest.mark.parametrize(
    ("item", "text"),
    [
        ({"encrypted_content": "sealed", "summary": [{"type": "summary_text", "text": "s"}]}, "thought"),
        ({"encrypted_content": "other", "summary": [{"type": "summary_text", "text": "s"}]}, "s"),
        ({"encrypted_content": None, "summary": []}, None),
    ],
)
def test_reasoning_without_its_text(item: dict[str, Any], text: str | None) -> None:
    """A seal of Spool's stands for the text, else its summary does."""
    (message,) = said({"type": "reasoning", **item}, SAID, keeps_reasoning=True)
    assert message.get("reasoning_content") == text


def test_listed() -> None:
    """A turn's messages are listed as the items that they came as."""
    (thought, listed) = items_of(
        [
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [call("patch", '{"input":"x"}')],
                "reasoning_content": "t",
            }
        ],
        "j0-1",
        {"patch": Called("custom", "patch")},
    )
    assert (thought["type"], thought["content"][0]["text"]) == ("reasoning", "t")
    assert (listed["type"], listed["name"], listed["input"], listed["call_id"]) == (
        "custom_tool_call",
        "patch",
        "x",
        "c",
    )


@pytest.mark.parametrize(
    "part",
    [
        {"type": "input_text", "text": "x"},
        {"type": "input_image", "image_url": "https://example.com/a.png", "detail": "low"},
        {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,eA=="},
        {"type": "input_audio", "input_audio": {"data": "eA==", "format": "wav"}},
        {"type": "input_video", "video_url": "https://example.com/a.mp4"},
    ],
    ids=lambda part: str(part["type"]),
)
def test_listed_part_is_the_same_input_again(part: dict[str, Any]) -> None:
    """A listed item gives the model what the input gave it: a conversation's later responses read it."""
    content = [part, {"type": "input_image", "image_url": "data:image/png;base64,eA==", "detail": "auto"}]
    messages = said({"role": "user", "content": content})
    assert said(*items_of(messages, "j0-1")) == messages


def test_pages_of_items() -> None:
    """A page begins behind an item; behind one that is not there, there is none."""
    items = [{"id": name} for name in "abc"]
    assert page_of(items, None, 2) == (items[:2], True)
    assert page_of(items, "b", 2) == (items[2:], False)
    with pytest.raises(ItemNotFound):
        page_of(items, "x", 2)
