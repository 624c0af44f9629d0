"""The upstream's view of a request to ``/v1`` or ``/ai/chat``: everything that Spool does not have to do itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from openai import OpenAI

from tests.compatible.chats import WEATHER, asked, chunks_of, text_of
from tests.compatible.scripts import answers
from tests.scripted_upstream import ScriptedUpstream, refuses, says
from tests.stack import Stack

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
IMAGE = "data:image/png;base64,iVBORw0KGgo="


@pytest.fixture(scope="module")
def stack_and_upstream(
    stack_and_upstreams: tuple[Stack, dict[str, ScriptedUpstream]],
) -> tuple[Stack, ScriptedUpstream]:
    """A Spool before an upstream that answers with everything."""
    stack, upstreams = stack_and_upstreams
    return stack, upstreams["m"]


@pytest.fixture(scope="module")
def client(stack_and_upstream: tuple[Stack, ScriptedUpstream]) -> Iterator[OpenAI]:
    """The SDK."""
    with OpenAI(base_url=f"{stack_and_upstream[0].webs[0].url}/v1", api_key="none") as sdk:
        yield sdk


@pytest.fixture
def upstream(stack_and_upstream: tuple[Stack, ScriptedUpstream]) -> ScriptedUpstream:
    """What the upstream was asked."""
    return stack_and_upstream[1]


def test_chat_request_as_it_came(client: OpenAI, upstream: ScriptedUpstream) -> None:
    """Messages, tools, formats, sampling and unknown extras of a chat completion go through untouched."""
    body: dict[str, Any] = {
        "messages": [
            {"role": "developer", "content": "Be brief.", "name": "d"},
            {
                "role": "user",
                "content": [{"type": "text", "text": "Hi"}, {"type": "image_url", "image_url": {"url": IMAGE}}],
            },
        ],
        "tools": [{"type": "function", "function": {"name": "one", "parameters": SCHEMA, "strict": True}}],
        "tool_choice": {"type": "function", "function": {"name": "one"}},
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}},
        "temperature": 0.3,
        "seed": 7,
        "stop": ["x"],
        "logit_bias": {"50256": -100},
        "max_tokens": 99,
        "user": "ada",
    }
    extras: dict[str, Any] = {"top_k": 40, "guided_regex": "a+", "nested": {"a": [1, None]}}
    completion = client.chat.completions.create(model="m", **body, extra_body=extras)
    asked = upstream.calls[-1].body
    options = {"stream": True, "stream_options": {"include_usage": True}}
    assert asked == {"model": "m", **body, **extras, **options}
    choice = completion.choices[0]
    assert choice.message.tool_calls is not None
    assert [call.to_dict()["function"] for call in choice.message.tool_calls] == [
        {"name": "one", "arguments": '{"city":"Oslo"}'},
        {"name": "two", "arguments": '{"city":"Oslo"}'},
    ]
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", "Let me see.")
    assert choice.message.to_dict()["reasoning_content"] == "Hm. "
    assert completion.usage is not None
    assert completion.usage.prompt_tokens_details is not None
    assert completion.usage.prompt_tokens_details.cached_tokens == 4
    assert completion.usage.completion_tokens_details is not None
    assert completion.usage.completion_tokens_details.reasoning_tokens == 3


def test_response_request_as_a_chat(client: OpenAI, upstream: ScriptedUpstream) -> None:
    """A response's request is the chat completion that means the same."""
    tools: Any = [
        {"type": "function", "name": "one", "description": "d", "parameters": SCHEMA, "strict": False},
        {"type": "function", "name": "two", "parameters": SCHEMA},
    ]
    response = client.responses.create(
        model="m",
        instructions="Be brief.",
        input=[
            {"role": "developer", "content": "Really."},
            {
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "Hi"},
                    {"type": "input_image", "image_url": IMAGE, "detail": "low"},
                    {"type": "input_file", "filename": "a.txt", "file_data": "data:text/plain;base64,YQ=="},
                ],
            },
        ],
        tools=tools,
        tool_choice={"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "two"}]},
        text={"format": {"type": "json_schema", "name": "n", "schema": SCHEMA}, "verbosity": "low"},
        reasoning={"effort": "high"},
        max_output_tokens=99,
        temperature=0.5,
        extra_body={"top_k": 40},
    )
    two = {"type": "function", "function": {"name": "two", "parameters": SCHEMA}}
    assert upstream.calls[-1].body == {
        "model": "m",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "system", "content": "Really."},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "Hi"},
                    {"type": "image_url", "image_url": {"url": IMAGE, "detail": "low"}},
                    {"type": "file", "file": {"filename": "a.txt", "file_data": "data:text/plain;base64,YQ=="}},
                ],
            },
        ],
        "tools": [two],
        "tool_choice": "required",
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}},
        "verbosity": "low",
        "reasoning_effort": "high",
        "max_tokens": 99,
        "temperature": 0.5,
        "top_k": 40,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert [item.type for item in response.output] == ["reasoning", "message", "function_call", "function_call"]
    assert response.usage is not None
    assert response.usage.output_tokens_details.reasoning_tokens == 3


def test_next_turn_has_the_whole_conversation(client: OpenAI, upstream: ScriptedUpstream) -> None:
    """``previous_response_id`` brings the earlier messages and what was answered, calls included, but not the
    instructions; the same as its items written out."""
    first = client.responses.create(model="m", input="Hello", instructions="Be brief.")
    outputs: Any = [
        {"type": "function_call_output", "call_id": "call-one", "output": "1"},
        {"type": "function_call_output", "call_id": "call-two", "output": [{"type": "input_text", "text": "2"}]},
    ]
    client.responses.create(model="m", input=outputs, previous_response_id=first.id)
    by_id = upstream.calls[-1].body["messages"]
    items: Any = [{"role": "user", "content": "Hello"}, *[item.to_dict() for item in first.output], *outputs]
    client.responses.create(model="m", input=items)
    written_out = upstream.calls[-1].body["messages"]
    references: Any = [{"type": "item_reference", "id": item.id} for item in first.output]
    client.responses.create(model="m", input=[items[0], *references, *outputs])
    referred_to = upstream.calls[-1].body["messages"]
    assert by_id == written_out == referred_to
    assert [message["role"] for message in by_id] == ["user", "assistant", "tool", "tool"]
    assert by_id[1] == {
        "role": "assistant",
        "content": "Let me see.",
        "tool_calls": [
            {"id": f"call-{n}", "type": "function", "function": {"name": n, "arguments": '{"city":"Oslo"}'}}
            for n in ("one", "two")
        ],
        "reasoning_content": "Hm. ",
    }
    assert by_id[3] == {"role": "tool", "tool_call_id": "call-two", "content": "2"}


def test_chat_of_the_ai_sdk(stack_and_upstream: tuple[Stack, ScriptedUpstream], upstream: ScriptedUpstream) -> None:
    """The upstream sees the system prompt first, the conversation in its own shape, params and tools, and no extras;
    while it refuses, the client is told."""
    image = {"type": "file", "mediaType": "image/png", "url": "data:image/png;base64,iVBORw0KGgo="}
    more = {"system": "Be brief.", "tools": [WEATHER], "tool_choice": "auto", "webSearch": True, "model": None}
    body = asked("chat/passed", {"temperature": 0.5}, image, {"type": "text", "text": "What is it?"}, **more)
    upstream.scripts[:] = [answers] * len(upstream.calls)
    upstream.scripts += [refuses(429, retry_after="1"), says("A ", "dot."), answers]
    chunks = chunks_of(stack_and_upstream[0].client().post("/ai/chat", json=body).text)
    request = upstream.calls[-1].body
    assert [message["role"] for message in request["messages"]] == ["system", "user"]
    assert request["messages"][0]["content"] == "Be brief."
    assert [part["type"] for part in request["messages"][1]["content"]] == ["image_url", "text"]
    assert (request["temperature"], request["tools"], request["tool_choice"]) == (0.5, [WEATHER], "auto")
    assert not {"webSearch", "system", "id", "trigger", "params"} & set(request)
    waiting = [chunk["data"] for chunk in chunks if chunk["type"] == "data-waiting"]
    assert waiting
    assert set(waiting[0]) == {"reason", "retry_at"}
    assert text_of(chunks) == "A dot."
