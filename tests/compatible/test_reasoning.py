"""Reasoning goes back to a model that wants it, by every way in which a client continues a conversation; and is shown
as a summary to clients that ask for one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from openai import OpenAI

from tests.compatible.chats import asked, chunks_of
from tests.scripted_upstream import ScriptedUpstream
from tests.stack import Stack, wait_for

Both = tuple[Stack, ScriptedUpstream]
SEALED: Any = ["reasoning.encrypted_content"]
FIRST = {"role": "assistant", "content": "Answer 0.", "reasoning": "Thought 0. "}


@pytest.fixture(scope="module")
def both(stack_and_upstreams: tuple[Stack, dict[str, ScriptedUpstream]]) -> Both:
    """A Spool before a model that thinks."""
    stack, upstreams = stack_and_upstreams
    return stack, upstreams["thinks"]


@pytest.fixture(scope="module")
def client(both: Both) -> Iterator[OpenAI]:
    """The SDK, as its users have it."""
    with OpenAI(base_url=f"{both[0].webs[0].url}/v1", api_key="none") as sdk:
        yield sdk


def earlier_answer(both: Both) -> dict[str, Any]:
    """The assistant's message in what the upstream was asked last."""
    return both[1].calls[-1].body["messages"][1]


def test_by_id(client: OpenAI, both: Both) -> None:
    """``previous_response_id`` brings the reasoning of the earlier turn."""
    first = client.responses.create(model="thinks", input="one")
    client.responses.create(model="thinks", input="two", previous_response_id=first.id)
    assert earlier_answer(both) == FIRST


def test_by_items(client: OpenAI, both: Both) -> None:
    """So do the items of the earlier response, as the client got them."""
    first = client.responses.create(model="thinks", input="one")
    items: Any = [{"role": "user", "content": "one"}, *[item.to_dict() for item in first.output]]
    client.responses.create(model="thinks", input=[*items, {"role": "user", "content": "two"}])
    assert earlier_answer(both) == FIRST


def test_sealed(client: OpenAI, both: Both) -> None:
    """Sealed reasoning stands for its text, for clients that keep nothing else of it; another seal stands for none."""
    first = client.responses.create(model="thinks", input="one", include=SEALED, store=False)
    reasoning, message = (item.to_dict() for item in first.output)
    assert reasoning["encrypted_content"].startswith("spool1.")
    asks: Any = [
        {"role": "user", "content": "one"},
        {**reasoning, "content": []},
        message,
        {"role": "user", "content": "2"},
    ]
    client.responses.create(model="thinks", input=asks)
    assert earlier_answer(both) == FIRST
    asks[1]["encrypted_content"] = "gAAAA" + reasoning["encrypted_content"][5:]
    client.responses.create(model="thinks", input=asks)
    assert earlier_answer(both) == {"role": "assistant", "content": "Answer 0."}


def test_native(both: Both) -> None:
    """``continue_from`` brings it as well."""
    client = both[0].client(0)
    first = client.post("/jobs", json={"prompt": "one", "model": "thinks"}).json()["id"]
    assert wait_for(lambda: client.get(f"/jobs/{first}").json()["ended_at"], "it ends")
    asked_again = {"prompt": "two", "model": "thinks", "continue_from": first}
    second = client.post("/jobs", json=asked_again).json()["id"]
    assert wait_for(lambda: client.get(f"/jobs/{second}").json()["ended_at"], "it ends")
    assert earlier_answer(both) == FIRST


def test_ai_sdk(both: Both) -> None:
    """The parts of an AI SDK's message bring it as well."""
    client = both[0].client(0)
    body = asked("thinking", {}, model="thinks")
    body["messages"] += [
        {"id": "a1", "role": "assistant", "parts": [
            {"type": "step-start"}, {"type": "reasoning", "text": "Thought 0. "}, {"type": "text", "text": "Answer 0."},
        ]},
        {"id": "u2", "role": "user", "parts": [{"type": "text", "text": "two"}]},
    ]  # fmt: skip
    assert chunks_of(client.post("/ai/chat", json=body).text)[-1]["type"] == "finish"
    assert earlier_answer(both) == FIRST


def test_summary(client: OpenAI) -> None:
    """Where the request asks for a summary, the reasoning comes as one, in its events and in its item."""
    events: list[Any] = list(
        client.responses.create(model="thinks", input="one", stream=True, reasoning={"summary": "auto"})
    )
    kinds = [event.type for event in events]
    at = kinds.index("response.reasoning_summary_part.added")
    assert kinds[at - 1 : at + 5] == [
        "response.output_item.added",
        "response.reasoning_summary_part.added",
        "response.reasoning_summary_text.delta",
        "response.reasoning_summary_text.done",
        "response.reasoning_summary_part.done",
        "response.output_item.done",
    ]
    assert events[at + 1].delta == events[at + 2].text == "Thought 0. "
    reasoning = events[-1].response.output[0]
    assert [part.text for part in reasoning.summary] == ["Thought 0. "]
    assert client.responses.retrieve(events[-1].response.id).output[0] == reasoning
