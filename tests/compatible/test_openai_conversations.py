"""``/v1/conversations`` and ``conversation`` of ``/v1/responses``, through the official SDK."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import orjson
import pytest
from openai import OpenAI

from spool.conversations.store import record_key
from spool.keys import HOME, prefix
from tests.compatible.test_openai_responses import WEATHER, ended, openai_at
from tests.stack import Stack, running_stack, wait_for

FAST = {"rate": 0, "tokens": 5}
SLOW = {"rate": 40, "tokens": 5000}


@pytest.fixture(scope="module")
def client(stack: Stack) -> Iterator[OpenAI]:
    """The SDK, at the first web."""
    with openai_at(stack, 0) as sdk:
        yield sdk


def answer(client: OpenAI, conversation: str, text: str, params: dict[str, Any] = FAST, **more: Any) -> Any:
    """A response of the conversation."""
    return client.responses.create(model="demo", conversation=conversation, input=text, extra_body=params, **more)


def texts(client: OpenAI, conversation: str) -> list[str]:
    """The texts of its items, oldest first."""
    items: Any = client.conversations.items.list(conversation, order="asc", limit=3)
    return [item.content[0].text for item in items]


def test_items_by_hand(client: OpenAI, stack: Stack) -> None:
    """Items are created, listed in pages, shown and deleted, at any web; what cannot be one is refused."""
    said: Any = [{"role": "user", "content": f"line {n}"} for n in range(5)]
    conversation = client.conversations.create(items=said, metadata={"a": "b"})
    assert (conversation.metadata, client.conversations.create().metadata) == ({"a": "b"}, {})
    with openai_at(stack, 1) as there:
        assert texts(there, conversation.id) == [f"line {n}" for n in range(5)]
        more = there.conversations.items.create(conversation.id, items=[{"role": "assistant", "content": "yes"}])
        item: Any = client.conversations.items.retrieve(more.data[0].id or "", conversation_id=conversation.id)
        assert (item.role, item.status, item.content[0].type) == ("assistant", "completed", "output_text")
        there.conversations.items.delete(item.id, conversation_id=conversation.id)
    with pytest.raises(openai.NotFoundError):
        client.conversations.items.retrieve(item.id, conversation_id=conversation.id)
    with pytest.raises(openai.NotFoundError):
        client.conversations.items.list(conversation.id, after=item.id)
    assert client.conversations.items.list(conversation.id, limit=1).data[0].content[0].text == "line 4"  # type: ignore[union-attr]
    wrong: Any
    for wrong in ([{"role": "nobody", "content": "x"}], [{"type": "item_reference", "id": "x"}], [], [{}] * 21):
        with pytest.raises(openai.BadRequestError) as raised:
            client.conversations.items.create(conversation.id, items=wrong)
        assert str(raised.value.param).startswith("items")


def test_responses_add_turns(client: OpenAI, stack: Stack) -> None:
    """Each response reads all items and adds its input and output, whole or streamed, at any web."""
    conversation = client.conversations.create(items=[{"role": "user", "content": "I am Ada"}]).id
    first = answer(client, conversation, "one")
    assert first.conversation.id == conversation
    with openai_at(stack, 1) as there:
        events = list(answer(there, conversation, "two", stream=True, store=False))
        second = events[-1].response
    assert texts(client, conversation) == ["I am Ada", "one", first.output_text, "two", second.output_text]
    third = answer(client, conversation, "three")
    stored = stack.client().get(f"/v1/responses/{third.id}").json()
    assert stored["conversation"] == {"id": conversation}
    assert [item.content[0].text for item in client.responses.input_items.list(third.id)] == ["three"]  # type: ignore[union-attr]
    client.responses.delete(third.id)
    assert texts(client, conversation)[-1] == third.output_text


def test_tool_call_of_a_conversation(client: OpenAI) -> None:
    """A call stays in the conversation, and its output alone is the next input."""
    conversation, tools = client.conversations.create().id, {"tools": [WEATHER], "tool_choice": "required"}
    call = answer(client, conversation, "The weather in Paris?", **tools).output[0]
    output: Any = [{"type": "function_call_output", "call_id": call.call_id, "output": "18 degrees"}]
    assert answer(client, conversation, output, {"rate": 0}).output_text
    kinds = [item.type for item in client.conversations.items.list(conversation, order="asc")]
    assert kinds == ["message", "function_call", "function_call_output", "message"]


def test_only_one_response_at_a_time(client: OpenAI) -> None:
    """While a response runs, another one is refused, and so is all but one of those that race; a response that was
    cancelled adds nothing."""
    conversation = client.conversations.create().id
    running = answer(client, conversation, "long", SLOW, background=True)
    with pytest.raises(openai.ConflictError) as raised:
        answer(client, conversation, "meanwhile")
    assert raised.value.code == "conversation_locked"
    client.responses.cancel(running.id)
    wait_for(lambda: ended(client, running.id), "it ends")
    assert texts(client, conversation) == []

    def attempt(number: int) -> str | None:
        try:
            return answer(client, conversation, f"racer {number}", {"rate": 50, "tokens": 20}).output_text
        except openai.ConflictError:
            return None

    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(attempt, range(4)))
    won = [outcome for outcome in outcomes if outcome is not None]
    assert won
    assert texts(client, conversation)[1::2] == won or sorted(texts(client, conversation)[1::2]) == sorted(won)


def test_failed_response_adds_nothing(client: OpenAI) -> None:
    """After a failure the conversation is as before, and free."""
    conversation = client.conversations.create().id
    with pytest.raises(openai.APIStatusError):
        answer(client, conversation, "fails", {"fail_after": 2, "rate": 0})
    assert answer(client, conversation, "again").output_text == texts(client, conversation)[-1]
    assert len(texts(client, conversation)) == 2


def test_repeated_request(client: OpenAI) -> None:
    """A request that is sent again gets its response, and its turn is there once."""
    conversation = client.conversations.create().id
    key = {"Idempotency-Key": conversation}
    responses = [answer(client, conversation, "once", extra_headers=key) for _ in range(2)]
    assert responses[0].id == responses[1].id
    assert len(texts(client, conversation)) == 2


def test_repeated_request_that_has_no_turn(client: OpenAI) -> None:
    """A request whose job was cancelled, and whose conversation went on with another response, is refused again."""
    conversation = client.conversations.create().id
    key = {"Idempotency-Key": conversation}
    cancelled = answer(client, conversation, "long", SLOW, background=True, extra_headers=key)
    client.responses.cancel(cancelled.id)
    wait_for(lambda: ended(client, cancelled.id), "it ends")
    assert answer(client, conversation, "another").output_text
    with pytest.raises(openai.ConflictError, match="another Idempotency-Key"):
        answer(client, conversation, "long", SLOW, background=True, extra_headers=key)
    assert len(texts(client, conversation)) == 2


def test_response_outlives_its_conversation(client: OpenAI, stack: Stack) -> None:
    """A response whose turn is not yet in its conversation is kept as long as this, also with ``store: false``."""
    conversation = client.conversations.create().id
    job = answer(client, conversation, "one", store=False).id.removeprefix("resp_")
    link = stack.redis.link
    assert link.call("PTTL", record_key(conversation)) <= link.call("PTTL", f"{prefix(0)}job:{job}")


def test_response_of_a_damaged_conversation(client: OpenAI, stack: Stack) -> None:
    """A conversation that cannot be read is named, and its response can be deleted."""
    conversation = client.conversations.create().id
    response = answer(client, conversation, "one").id
    stack.redis.link.call("HSET", record_key(conversation), "metadata", "no JSON")
    with pytest.raises(openai.ConflictError, match="of this conversation"):
        client.conversations.retrieve(conversation)
    client.responses.delete(response)
    assert stack.client().get(f"/v1/responses/{response}").status_code == 410


def test_owner_without_room(client: OpenAI, stack: Stack) -> None:
    """An owner whose conversations exceed their limit gets no further turns."""
    conversation = client.conversations.create().id
    sizes, more = f"{prefix(HOME)}conversation-bytes:anonymous", 64 * 1024 * 1024 + 1
    stack.redis.link.call("HINCRBY", sizes, "all", more)
    with pytest.raises(openai.RateLimitError):
        answer(client.with_options(max_retries=0), conversation, "one")
    stack.redis.link.call("HINCRBY", sizes, "all", -more)
    assert answer(client, conversation, "one").output_text


def test_unknown_and_deleted(client: OpenAI) -> None:
    """An unknown or deleted conversation is a 404, also for a response; one whose conversation is deleted goes on."""
    conversation = client.conversations.create().id
    running = answer(client, conversation, "long", {"rate": 40, "tokens": 20}, background=True)
    client.conversations.delete(conversation)
    for wrong in (conversation, "conv_1"):
        with pytest.raises(openai.NotFoundError):
            answer(client, wrong, "x")
        with pytest.raises(openai.NotFoundError):
            client.conversations.items.list(wrong)
    assert wait_for(lambda: ended(client, running.id), "it ends").output_text


def test_batch_line(stack: Stack) -> None:
    """A line of a batch cannot name a conversation."""
    asked = {"model": "demo", "input": "x", "conversation": "c"}
    line = orjson.dumps({"custom_id": "a", "method": "POST", "url": "/v1/responses", "body": asked})
    client = stack.client()
    form: Any = {"files": {"file": ("b.jsonl", line)}, "data": {"purpose": "batch"}}
    file = client.post("/v1/files", **form).json()["id"]
    body = {"input_file_id": file, "endpoint": "/v1/responses", "completion_window": "24h"}
    batch = client.post("/v1/batches", json=body).json()["id"]
    wait_for(lambda: client.get(f"/v1/batches/{batch}").json()["status"] == "failed", "it fails")
    assert "conversation" in str(client.get(f"/v1/batches/{batch}").json()["errors"])


@pytest.mark.slow
@pytest.mark.parametrize("dies", ["web", "worker"])
def test_death_in_the_middle(directory: Path, dies: str) -> None:
    """Whatever dies while a response runs, its turn is in the conversation once it has ended."""
    with (
        running_stack(directory, webs=2, workers=1) as stack,
        openai_at(stack, 0) as here,
        openai_at(stack, 1) as there,
    ):
        conversation = here.conversations.create().id
        running = answer(here, conversation, "long", {"rate": 40, "tokens": 80}, background=True)
        job = running.id.removeprefix("resp_")
        wait_for(lambda: stack.client(1).get(f"/jobs/{job}").json()["last_entry"] > 20, "it runs")
        process = stack.webs[0] if dies == "web" else stack.workers[0]
        process.kill()
        process.start()
        done = wait_for(lambda: ended(there, running.id), "it ends")
        assert texts(there, conversation) == (["long", done.output_text] if done.status != "failed" else [])
        assert answer(there, conversation, "next").output_text
