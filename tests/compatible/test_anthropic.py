"""Anthropic's own SDK for Python against ``/v1/messages``: whole, streamed, tools, thinking, failures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.scripted_upstream import ScriptedUpstream
from tests.stack import Stack

if TYPE_CHECKING:
    # Imported by the tests: it takes 2 s, and every process of `make test` loads this module.
    from anthropic import Anthropic

TOOLS: Any = [{"name": "one", "description": "d", "input_schema": {"type": "object", "properties": {"city": {}}}}]


@pytest.fixture(scope="module")
def stack_and_upstream(
    stack_and_upstreams: tuple[Stack, dict[str, ScriptedUpstream]],
) -> tuple[Stack, ScriptedUpstream]:
    """A Spool before an upstream that answers with everything."""
    stack, upstreams = stack_and_upstreams
    return stack, upstreams["m"]


@pytest.fixture(scope="module")
def client(stack_and_upstream: tuple[Stack, ScriptedUpstream]) -> Iterator[Anthropic]:
    """The SDK, with its usual retries."""
    from anthropic import Anthropic

    with Anthropic(base_url=stack_and_upstream[0].webs[0].url, api_key="none") as sdk:
        yield sdk


def ask(client: Anthropic, prompt: Any = "Hi", *, model: str = "m", **fields: Any) -> Any:
    """A whole message."""
    messages = [{"role": "user", "content": prompt}]
    return client.messages.create(model=model, max_tokens=99, messages=messages, **fields)


def test_whole_message(client: Anthropic) -> None:
    """A message has its thinking, its text, its calls with their input, and its usage with cached tokens apart."""
    message = ask(client, tools=TOOLS)
    assert [block.type for block in message.content] == ["thinking", "text", "tool_use", "tool_use"]
    thinking, text, first, second = message.content
    assert (thinking.thinking, text.text) == ("Hm. ", "Let me see.")
    assert [(call.name, call.input) for call in (first, second)] == [
        ("one", {"city": "Oslo"}),
        ("two", {"city": "Oslo"}),
    ]
    assert (message.stop_reason, message.role, message.type) == ("tool_use", "assistant", "message")
    usage = message.usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens) == (5, 4, 7)


def test_streamed_message(client: Anthropic) -> None:
    """The SDK builds the same message of the events, which begin with exactly one ``message_start``."""
    kinds = []
    with client.messages.stream(
        model="m", max_tokens=99, messages=[{"role": "user", "content": "Hi"}], tools=TOOLS
    ) as stream:
        for event in stream:
            kinds.append(event.type)
        streamed = stream.get_final_message()
    whole = ask(client, tools=TOOLS)
    assert [block.model_dump(exclude={"id"}) for block in streamed.content] == [
        block.model_dump(exclude={"id"}) for block in whole.content
    ]
    assert (streamed.stop_reason, streamed.usage.output_tokens) == (whole.stop_reason, whole.usage.output_tokens)
    assert (kinds[0], kinds.count("message_start"), kinds[-1]) == ("message_start", 1, "message_stop")


def test_request_as_a_chat(client: Anthropic, stack_and_upstream: tuple[Stack, ScriptedUpstream]) -> None:
    """The upstream gets the conversation, the tools and the limits of a chat completion that means the same."""
    picture = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}
    client.messages.create(
        model="m",
        max_tokens=50,
        system=[{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        extra_body={"temperature": 0.5},
        stop_sequences=["x"],
        tools=[*TOOLS, {"type": "web_search_20250305", "name": "web_search"}],
        tool_choice={"type": "any", "disable_parallel_tool_use": True},
        metadata={"user_id": "ada"},
        messages=[
            {"role": "user", "content": "The weather?"},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "Hm.", "signature": ""},
                    {"type": "tool_use", "id": "t1", "name": "one", "input": {"city": "Oslo"}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "cold"}]},
                    {"type": "image", "source": picture},  # type: ignore[typeddict-item]
                    {"type": "text", "text": "And this?"},
                ],
            },
        ],
    )
    asked = stack_and_upstream[1].calls[-1].body
    call = {"id": "t1", "type": "function", "function": {"name": "one", "arguments": '{"city":"Oslo"}'}}
    assert asked["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "The weather?"},
        {"role": "assistant", "content": None, "tool_calls": [call], "reasoning_content": "Hm."},
        {"role": "tool", "tool_call_id": "t1", "content": "cold"},
        {
            "role": "user",
            "content": [
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
                {"type": "text", "text": "And this?"},
            ],
        },
    ]
    assert [tool["function"]["name"] for tool in asked["tools"]] == ["one"]
    assert (asked["tool_choice"], asked["parallel_tool_calls"]) == ("required", False)
    assert (asked["max_tokens"], asked["temperature"], asked["stop"], asked["user"]) == (50, 0.5, ["x"], "ada")


@pytest.mark.parametrize(
    ("prompt", "kind", "code"),
    [
        ("words", "BadRequestError", "context_length_exceeded"),
        ("quota", "RateLimitError", "insufficient_quota"),
    ],
    ids=["context", "quota"],
)
@pytest.mark.parametrize("is_streamed", [False, True], ids=["whole", "stream"])
def test_failure(client: Anthropic, prompt: str, kind: str, code: str, is_streamed: bool) -> None:
    """A failure before the first token is the SDK's error of the same status, and is not asked again."""
    import anthropic

    with pytest.raises(getattr(anthropic, kind), match=code) as raised:
        ask(client, prompt, model="fails", stream=is_streamed)
    assert raised.value.body["type"] == "error"  # type: ignore[index,call-overload]
    assert raised.value.response.headers["x-should-retry"] == "false"


def test_unknown_model(client: Anthropic) -> None:
    """A model that is not there is a 404, and a wrong field is named."""
    import anthropic

    with pytest.raises(anthropic.NotFoundError):
        client.messages.create(model="claude-none", max_tokens=9, messages=[{"role": "user", "content": "x"}])
    with pytest.raises(anthropic.BadRequestError, match="max_tokens"):
        client.messages.create(model="m", max_tokens=0, messages=[{"role": "user", "content": "x"}])


def test_count_tokens(client: Anthropic) -> None:
    """A longer prompt counts more tokens, and its tools count."""
    few = client.messages.count_tokens(model="m", messages=[{"role": "user", "content": "x" * 40}])
    more = client.messages.count_tokens(model="m", messages=[{"role": "user", "content": "x" * 40}], tools=TOOLS)
    assert 10 <= few.input_tokens < more.input_tokens


def test_models(client: Anthropic) -> None:
    """The models have Anthropic's shape, also one by itself."""
    import anthropic

    names = [(model.id, model.display_name) for model in client.models.list(limit=1)]
    assert ("m", "m") in names
    assert client.models.retrieve("m").created_at.year == 1970
    with pytest.raises(anthropic.NotFoundError):
        client.models.retrieve("none")
