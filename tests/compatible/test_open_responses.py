"""What goes over the wire on ``/v1/responses``, against the Open Responses specification."""

from __future__ import annotations

from typing import Any

import httpx
import orjson
import pytest

from tests.compatible.shapes import check_event, check_item, check_response
from tests.stack import Stack

TOOLS = [{"type": "function", "name": "get_weather", "parameters": {"type": "object", "properties": {"city": {}}}}]
IMAGE = {"type": "input_image", "image_url": "data:image/png;base64,iVBORw0KGgo=", "detail": "auto"}
FAST: dict[str, Any] = {"model": "demo", "tokens": 8, "rate": 0}
CASES: dict[str, dict[str, Any]] = {
    "text": {"input": "Say hello"},
    "system prompt": {
        "input": [
            {"role": "system", "content": "Talk like a pirate."},
            {"type": "message", "role": "user", "content": "Hi"},
        ]
    },
    "instructions": {"input": "Hi", "instructions": "Be brief.", "metadata": {"a": "b"}, "max_output_tokens": 5},
    "multi-turn": {
        "input": [
            {"role": "user", "content": "My name is Ada."},
            {"role": "assistant", "content": [{"type": "output_text", "text": "Hello Ada", "annotations": []}]},
            {"role": "user", "content": "What is my name?"},
        ]
    },
    "image": {"input": [{"role": "user", "content": [{"type": "input_text", "text": "What is it?"}, IMAGE]}]},
    "tool call": {"input": "The weather in Rome?", "tools": TOOLS, "tool_choice": "required"},
    "two calls and text": {"input": "get_weather now", "tools": [*TOOLS, {**TOOLS[0], "name": "weather"}]},
    "reasoning": {"input": "Think", "reasoning": {"effort": "low"}},
    "failed": {"input": "Fail", "fail_after": 3, "tokens": 5},
    "json": {
        "input": "An object",
        "text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object", "properties": {"a": {}}}}},
    },
}


def post(stack: Stack, body: dict[str, Any]) -> httpx.Response:
    """One request for a response, which must be taken."""
    answer = stack.client(0).post("/v1/responses", json={**FAST, **body})
    assert answer.status_code == 200, answer.text
    return answer


def events_of(text: str) -> list[dict[str, Any]]:
    """The events of a stream, after the rules that the specification has for their bytes."""
    assert "\r" not in text
    assert "\nid:" not in text
    assert text.endswith("data: [DONE]\n\n")
    events = []
    for block in text.removesuffix("data: [DONE]\n\n").split("\n\n")[:-1]:
        name, data = (line for line in block.split("\n") if not line.startswith(":"))
        events.append(orjson.loads(data.removeprefix("data: ")))
        assert name == f"event: {events[-1]['type']}"
    return events


@pytest.mark.parametrize("name", CASES)
def test_whole_response(stack: Stack, name: str) -> None:
    """The Response object has every field, of the right type."""
    answer = stack.client(0).post("/v1/responses", json={**FAST, **CASES[name]})
    # A waiting request whose job fails is an HTTP error; its response can still be read.
    assert answer.status_code == (502 if name == "failed" else 200), answer.text
    response = stack.client(0).get(f"/v1/responses/resp_{answer.headers['x-spool-job']}").json()
    assert name == "failed" or answer.json() == response
    check_response(response)
    kept = stack.client(1).get(f"/v1/responses/{response['id']}").json()
    assert kept == response


@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_streamed_response(stack: Stack, name: str, background: bool) -> None:
    """Every event has its shape; the numbers have no hole; and its parts add up to the response that ends it."""
    events = events_of(post(stack, {**CASES[name], "stream": True, "background": background}).text)
    for event in events:
        check_event(event)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert events[0]["type"] == "response.created"
    done = [event["item"] for event in sorted(events, key=lambda e: e.get("output_index", -1)) if "item" in event]
    assert [item for item in done if item["status"] != "in_progress"] == events[-1]["response"]["output"]
    assert stack.client(1).get(f"/v1/responses/{events[0]['response']['id']}").json() == events[-1]["response"]


def test_response_that_waits(stack: Stack) -> None:
    """A queued or running response in the background has every field, with the text so far as its output."""
    begun = post(stack, {"input": "x", "background": True, "tokens": 500, "rate": 50}).json()
    check_response(begun)
    client = stack.client(1)
    while not (now := client.get(f"/v1/responses/{begun['id']}").json())["output"]:
        check_response(now)
    check_response(now)
    check_item(now["output"][0])
    assert now["status"] == "in_progress"
    client.post(f"/v1/responses/{begun['id']}/cancel")


def test_heartbeats_are_comments_of_one_line(stack: Stack) -> None:
    """In silence there are comments without an empty line behind them, and an event that repeats the last number."""
    body = {"input": "x", "stream": True, "first_token_s": 2.5, "tokens": 1}
    text = post(stack, body).text
    assert ": ping\n" in text
    assert ": ping\n\n" not in text
    numbers = [event["sequence_number"] for event in events_of(text)]
    assert numbers[:3] == [0, 1, 1]
    assert sorted(set(numbers)) == list(range(max(numbers) + 1))
