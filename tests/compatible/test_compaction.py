"""Compaction and the count of tokens, by the official SDK."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from openai import OpenAI

from tests.scripted_upstream import ScriptedUpstream
from tests.stack import Stack

TOOL: Any = {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": False}
USER: Any = {"role": "user", "content": "Plan it."}
SAID: Any = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "A plan."}]}


@pytest.fixture(scope="module")
def client(stack_and_upstreams: tuple[Stack, dict[str, ScriptedUpstream]]) -> Iterator[OpenAI]:
    """The SDK, as its users have it."""
    with OpenAI(base_url=f"{stack_and_upstreams[0].webs[0].url}/v1", api_key="none") as sdk:
        yield sdk


def test_compact(client: OpenAI, stack_and_upstreams: tuple[Stack, dict[str, ScriptedUpstream]]) -> None:
    """A compacted conversation is the user's messages and a sealed summary, which the model gets in its place."""
    upstream = stack_and_upstreams[1]["thinks"]
    compacted = client.responses.compact(model="thinks", input=[USER, SAID], extra_body={"tools": [TOOL]})
    asked = upstream.calls[-1].body
    assert "tools" not in asked
    assert [message["role"] for message in asked["messages"]] == ["user", "assistant", "user"]
    assert [item.type for item in compacted.output] == ["message", "compaction"]
    # OpenAI's own answers have a user's message among the output items, which its types do not foresee.
    kept: Any = [item.model_dump(exclude_unset=True, warnings=False) for item in compacted.output]
    client.responses.create(model="thinks", input=[*kept, {"role": "user", "content": "Go on."}])
    contents = [message["content"] for message in upstream.calls[-1].body["messages"]]
    assert contents[0] == "Plan it."
    assert contents[1].endswith("Answer 1.")
    assert contents[2] == "Go on."


def test_input_tokens(client: OpenAI) -> None:
    """The count grows with the input, its instructions and its tools, and makes no job."""
    short = client.responses.input_tokens.count(model="demo", input="Hi").input_tokens
    long = client.responses.input_tokens.count(model="demo", input="Hi " * 400).input_tokens
    tools = client.responses.input_tokens.count(model="demo", input="Hi", tools=[TOOL]).input_tokens
    assert 0 < short < tools < long
    assert 250 < long < 400
