"""``continue_from``: a job goes on with the conversation of one that has ended."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.stack import Stack, wait_for

FAST: dict[str, Any] = {"params": {"rate": 0, "tokens": 40}}


def finished(client: httpx.Client, **body: Any) -> dict[str, Any]:
    """The job that this submit becomes, once it has ended."""
    answer = client.post("/jobs", json={**FAST, **body}, headers={"Prefer": "wait=10"})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def conversation(stack: Stack, job: str) -> list[tuple[str, str]]:
    """Who said what, as the job's model was given it."""
    answer = stack.client(1).get(f"/v1/responses/resp_{job}/input_items", params={"order": "asc"}).json()
    return [(item["role"], item["content"][0]["text"]) for item in answer["data"]]


def test_conversation_goes_on(stack: Stack) -> None:
    """Each turn has all earlier ones, whether it came as a prompt, as messages or as a response."""
    client = stack.client(0)
    first = finished(client, messages=[{"role": "system", "content": "s"}, {"role": "user", "content": "one"}])
    second = finished(stack.client(1), prompt="two", continue_from=first["id"])
    expected = [("system", "s"), ("user", "one"), ("assistant", first["text"]), ("user", "two")]
    assert conversation(stack, second["id"]) == expected
    asked = {"model": "demo", "input": "three", "previous_response_id": f"resp_{second['id']}", "tokens": 9, "rate": 0}
    response = client.post("/v1/responses", json=asked).json()
    third = response["id"].removeprefix("resp_")
    fourth = finished(client, prompt="four", continue_from=third)
    said = [text for _role, text in conversation(stack, fourth["id"])]
    assert said[:4] == [text for _role, text in expected]
    assert said[4:] == [second["text"], "three", response["output"][0]["content"][0]["text"], "four"]


def test_goes_on_after_the_first_turn_is_forgotten(stack: Stack) -> None:
    """A conversation does not depend on the jobs of its earlier turns."""
    client = stack.client(0)
    first = finished(client, prompt="one")
    second = finished(client, prompt="two", continue_from=first["id"])
    assert client.delete(f"/jobs/{first['id']}").status_code == 204
    third = finished(client, prompt="three", continue_from=second["id"])
    assert [text for _role, text in conversation(stack, third["id"])][::2] == ["one", "two", "three"]


def test_goes_on_after_a_cancel(stack: Stack) -> None:
    """What a cancelled job had said is a turn as well."""
    client = stack.client(0)
    job = client.post("/jobs", json={"prompt": "long", "params": {"tokens": 5000, "rate": 50}}).json()["id"]
    wait_for(lambda: client.get(f"/jobs/{job}").json()["last_entry"] > 3, "tokens come")
    client.post(f"/jobs/{job}/cancel")
    ended = wait_for(lambda: (j := client.get(f"/jobs/{job}").json())["status"] == "cancelled" and j, "it ends")
    turns = conversation(stack, finished(client, prompt="go on", continue_from=job)["id"])
    assert turns == [("user", "long"), ("assistant", ended["text"]), ("user", "go on")]


@pytest.mark.parametrize("surface", ["/jobs", "/batches"])
def test_what_cannot_be_gone_on_with(stack: Stack, surface: str) -> None:
    """A job that runs is 409, one that is not there 404, one that was deleted 410; nothing is accepted."""
    client = stack.client(0)
    running = client.post("/jobs", json={"prompt": "x", "params": {"tokens": 5000, "rate": 10}}).json()["id"]
    deleted = finished(client, prompt="x")["id"]
    client.delete(f"/jobs/{deleted}")
    for job, status in ((running, 409), ("j0-nothing", 404), ("nothing", 404), (deleted, 410)):
        body: Any = {"prompt": "and?", "continue_from": job}
        answer = client.post(surface, json=[body] if surface == "/batches" else body)
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
    assert client.post("/jobs", json={"prompt": "x", "continue_from": ""}).status_code == 422
    client.post(f"/jobs/{running}/cancel")


def test_conversation_has_a_limit(stack: Stack) -> None:
    """A conversation that has grown beyond the limit of a prompt is refused with its field's name."""
    client = stack.client(0)
    first = finished(client, prompt="x" * 900_000)
    answer = client.post("/jobs", json={"prompt": "y" * 200_000, "continue_from": first["id"]})
    assert answer.status_code == 413
    assert answer.json()["errors"][0]["field"] == "prompt"


def test_messages_of_any_shape_can_be_listed(stack: Stack) -> None:
    """What a native job's messages hold beyond what is known is listed as it is, or left out, and breaks nothing."""
    messages: list[dict[str, Any]] = [
        {"role": "tool", "content": "no id"},
        {"role": "assistant", "tool_calls": "none"},
        {"role": "assistant", "content": None, "tool_calls": [1, {"function": 2}, {"function": {}}]},
        {"role": "function", "name": "f", "content": [{"type": "image_url", "image_url": "x"}, {"type": "odd"}]},
        {"role": "user", "content": [{"type": "text"}, {"type": "file", "file": None}]},
    ]
    job = finished(stack.client(0), messages=messages)
    listed = stack.client(1).get(f"/v1/responses/resp_{job['id']}/input_items", params={"order": "asc"})
    assert listed.status_code == 200
    types = [item["type"] for item in listed.json()["data"]]
    assert types == ["function_call_output", "function_call", "message", "message"]
    again = finished(stack.client(0), prompt="and?", continue_from=job["id"])
    assert again["status"] == "succeeded"
