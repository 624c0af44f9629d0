"""UI messages in, messages in the chat shape out."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from web.ai_sdk.ui_messages import UiMessage, messages_of
from web.ai_sdk.ui_parts import chunks_of

IMAGE = "data:image/png;base64,iVBORw0KGgo="
PDF = "data:application/pdf;base64,JVBERi0="
STEP = {"type": "step-start"}
CALL: dict[str, Any] = {"type": "tool-weather", "toolCallId": "c1", "input": {"city": "Paris"}}
CALLED = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Paris"}'}}
ANSWERED = {**CALL, "state": "output-available", "output": {"degrees": 18}}


def text(words: str) -> dict[str, Any]:
    """A text part."""
    return {"type": "text", "text": words, "state": "done"}


def converted(role: str, *parts: dict[str, Any]) -> list[dict[str, Any]]:
    """The messages that one UI message becomes."""
    return messages_of([UiMessage.model_validate({"id": "m", "role": role, "parts": list(parts)})])


def test_text_of_each_role() -> None:
    """Text stays text, whoever said it."""
    assert converted("user", text("Hi")) == [{"role": "user", "content": "Hi"}]
    assert converted("system", text("Be "), text("brief.")) == [{"role": "system", "content": "Be brief."}]
    assert converted("assistant", STEP, text("Hel"), text("lo")) == [{"role": "assistant", "content": "Hello"}]


def test_files_of_a_user() -> None:
    """Images and other files become the parts that chat models know, beside the text and in its order."""
    parts = converted(
        "user",
        {"type": "file", "mediaType": "image/png", "url": IMAGE, "filename": "a.png"},
        {"type": "file", "mediaType": "application/pdf", "url": PDF, "filename": "b.pdf"},
        text("What are these?"),
    )[0]["content"]
    assert parts == [
        {"type": "image_url", "image_url": {"url": IMAGE}},
        {"type": "file", "file": {"filename": "b.pdf", "file_data": PDF}},
        {"type": "text", "text": "What are these?"},
    ]


def test_parts_that_no_model_gets() -> None:
    """Reasoning, sources, data and an assistant's files are left out, and messages of nothing else."""
    others = (
        {"type": "reasoning", "text": "Hm."},
        {"type": "source-url", "sourceId": "s", "url": "https://example.org"},
        {"type": "data-weather", "id": "d", "data": [1]},
        {"type": "something-new", "of": {"its": "own"}},
    )
    assert converted("assistant", STEP, *others, text("So.")) == [{"role": "assistant", "content": "So."}]
    assert converted("assistant", STEP, {"type": "file", "mediaType": "image/png", "url": IMAGE}) == []
    assert converted("assistant") == []
    assert converted("user", *others) == []


@pytest.mark.parametrize(
    ("part", "content"),
    [
        (ANSWERED, '{"degrees":18}'),
        ({**ANSWERED, "output": "sunny"}, "sunny"),
        ({**CALL, "state": "output-available"}, "null"),
        ({**CALL, "state": "output-error", "errorText": "no network"}, "no network"),
        ({**CALL, "state": "output-denied", "approval": {"id": "a", "approved": False, "reason": "no"}}, "no"),
        ({**ANSWERED, "type": "dynamic-tool", "toolName": "weather"}, '{"degrees":18}'),
    ],
)
def test_tool_call_that_was_answered(part: dict[str, Any], content: str) -> None:
    """A call and what came of it are the assistant's message and the tool's behind it, step by step."""
    assert converted("assistant", STEP, text("Let me see."), part, STEP, text("18 degrees.")) == [
        {"role": "assistant", "content": "Let me see.", "tool_calls": [CALLED]},
        {"role": "tool", "tool_call_id": "c1", "content": content},
        {"role": "assistant", "content": "18 degrees."},
    ]


@pytest.mark.parametrize(
    "state", ["input-streaming", "input-available", "approval-requested", "approval-responded", "output-available"]
)
def test_tool_call_without_an_answer(state: str) -> None:
    """A call that nobody has answered, or not for good, is left out: no model goes on behind one."""
    part = {**CALL, "state": state, "preliminary": True}
    assert converted("assistant", STEP, text("Let me see."), part) == [{"role": "assistant", "content": "Let me see."}]
    assert converted("assistant", STEP, part) == []


@pytest.mark.parametrize(
    ("given", "arguments"), [({}, "{}"), ({"input": {}}, "{}"), ({"rawInput": '{"city":'}, '"{\\"city\\":"')]
)
def test_arguments_that_are_missing_or_broken(given: dict[str, Any], arguments: str) -> None:
    """Arguments are JSON text, whatever the model had said: servers parse them."""
    part = {"type": "tool-weather", "toolCallId": "c1", "state": "output-error", "errorText": "bad", **given}
    assert converted("assistant", part)[0]["tool_calls"][0]["function"]["arguments"] == arguments


@pytest.mark.parametrize(
    ("part", "needs"),
    [
        ({"type": "text"}, "text"),
        ({"type": "file", "url": IMAGE}, "mediaType"),
        ({"type": "tool-weather", "toolCallId": "c1"}, "state"),
        ({"type": "dynamic-tool", "toolCallId": "c1", "state": "output-error"}, "toolName"),
        ({"type": ""}, "at least 1 character"),
    ],
)
def test_part_that_lacks_something(part: dict[str, Any], needs: str) -> None:
    """A part without what it needs is refused, and what it needs is named."""
    with pytest.raises(ValidationError, match=needs):
        converted("user", part)


def test_parts_as_chunks_again() -> None:
    """The parts of a message become the chunks that make them, and no client's tool is called by them once more."""
    data = {"type": "data-x", "id": "d", "data": 1}
    parts = [STEP, {"type": "reasoning", "text": "Hm."}, text("So."), ANSWERED, STEP, data, {"type": "unknown"}]
    call = {"toolCallId": "c1"}
    assert list(chunks_of(parts)) == [
        {"type": "start-step"},
        {"type": "reasoning-start", "id": "before-1"},
        {"type": "reasoning-delta", "id": "before-1", "delta": "Hm."},
        {"type": "reasoning-end", "id": "before-1"},
        {"type": "text-start", "id": "before-2"},
        {"type": "text-delta", "id": "before-2", "delta": "So."},
        {"type": "text-end", "id": "before-2"},
        {"type": "tool-input-start", **call, "toolName": "weather"},
        {"type": "tool-input-delta", **call, "inputTextDelta": '{"city":"Paris"}'},
        {"type": "tool-output-available", **call, "output": {"degrees": 18}},
        {"type": "finish-step"},
        {"type": "start-step"},
        data,
        {"type": "finish-step"},
    ]
