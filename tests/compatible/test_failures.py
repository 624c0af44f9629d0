"""A failure before the first token is the failure that it was at the upstream, for the official SDK on each surface."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI

from tests.compatible.scripts import ERRORS
from tests.scripted_upstream import ScriptedUpstream
from tests.stack import Stack

EXPECTED: dict[str, tuple[type[openai.APIStatusError], str]] = {
    "context": (openai.BadRequestError, "context_length_exceeded"),
    "words": (openai.BadRequestError, "context_length_exceeded"),
    "filter": (openai.BadRequestError, "content_filter"),
    "quota": (openai.RateLimitError, "insufficient_quota"),
    "model": (openai.NotFoundError, "model_not_found"),
}


@pytest.fixture(scope="module")
def stack(stack_and_upstreams: tuple[Stack, dict[str, ScriptedUpstream]]) -> Stack:
    """A Spool before an upstream that fails."""
    return stack_and_upstreams[0]


@pytest.fixture(scope="module")
def client(stack: Stack) -> Iterator[OpenAI]:
    """The SDK, with its usual retries."""
    with OpenAI(base_url=f"{stack.webs[0].url}/v1", api_key="none") as sdk:
        yield sdk


def chat(client: OpenAI, prompt: str) -> Any:
    """A whole completion."""
    return client.chat.completions.create(model="fails", messages=[{"role": "user", "content": prompt}])


def chat_stream(client: OpenAI, prompt: str) -> Any:
    """A streamed completion."""
    return list(
        client.chat.completions.create(model="fails", messages=[{"role": "user", "content": prompt}], stream=True)
    )


def response(client: OpenAI, prompt: str) -> Any:
    """A whole response."""
    return client.responses.create(model="fails", input=prompt)


def response_stream(client: OpenAI, prompt: str) -> Any:
    """A streamed response."""
    return list(client.responses.create(model="fails", input=prompt, stream=True))


SURFACES: list[Callable[[OpenAI, str], Any]] = [chat, chat_stream, response, response_stream]


@pytest.mark.parametrize(
    ("ask", "name"),
    [*((ask, "context") for ask in SURFACES), *((chat_stream, name) for name in EXPECTED if name != "context")],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_failure_before_the_first_token(client: OpenAI, stack: Stack, ask: Callable[..., Any], name: str) -> None:
    """The SDK raises what it would at the upstream, and the request stays one job."""
    before = len(stack.client(0).get("/jobs?limit=200").json()["jobs"])
    kind, code = EXPECTED[name]
    with pytest.raises(kind) as raised:
        ask(client, name)
    assert raised.value.code == code
    assert raised.value.body["spool"] == {"code": "upstream_rejected", "retryable": False}  # type: ignore[index,call-overload]
    assert raised.value.param == ERRORS[name][1].get("param")
    job = stack.client(0).get(raised.value.response.headers["Location"]).json()
    assert job["error"]["upstream"]["status"] == ERRORS[name][0]
    assert len(stack.client(0).get("/jobs?limit=200").json()["jobs"]) == before + 1


def test_failure_in_a_chat_of_the_ai_sdk(stack: Stack) -> None:
    """A chat's answer that fails before its first token is an HTTP error with the upstream's status and code."""
    message = {"id": "m", "role": "user", "parts": [{"type": "text", "text": "context"}]}
    answer = stack.client(0).post("/ai/chat", json={"id": "c", "messages": [message], "model": "fails"})
    assert (answer.status_code, answer.json()["code"]) == (400, "context_length_exceeded")
    job = stack.client(0).get(answer.headers["Location"]).json()
    assert job["status"] == "failed"


def test_failure_after_the_first_token(client: OpenAI) -> None:
    """Later, the stream of a response carries the failure, and its text until then counts."""
    events = response_stream(client, "later context")
    assert events[-1].type == "response.failed"
    assert events[-1].response.status == "failed"
    assert events[-1].response.output[0].content[0].text == "Hel"


OVERLOADED = "later overloaded"
OWN = {"code": "upstream_interrupted", "retryable": True}


def last_event(stack: Stack, path: str, body: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """The last JSON object of an answer that streams, and its job."""
    with stack.client(0).stream("POST", path, json={"model": "fails", **body}) as answer:
        assert answer.status_code == 200, answer.read()
        lines = [line.removeprefix("data: ") for line in answer.iter_lines()]
    found: dict[str, Any] = json.loads(next(line for line in reversed(lines) if line.startswith("{")))
    return found, answer.headers["X-Spool-Job"]


MESSAGES = [{"id": "m1", "role": "user", "content": OVERLOADED}]
STREAMED = {"messages": [{"role": "user", "content": OVERLOADED}], "stream": True}
RUN = {"threadId": "t", "runId": "r", "state": {}, "tools": [], "context": [], "forwardedProps": {"model": "fails"}}


@pytest.mark.parametrize(
    ("path", "body", "within"),
    [
        ("/v1/chat/completions", STREAMED, ["error"]),
        ("/v1/completions", {"prompt": OVERLOADED, "stream": True}, ["error"]),
        ("/v1/responses", {"input": OVERLOADED, "stream": True}, ["response", "error"]),
    ],
)
def test_overloaded_in_the_stream(stack: Stack, path: str, body: dict[str, Any], within: list[str]) -> None:
    """A passing error of the upstream after the first token has the upstream's code and type, and Spool's beside."""
    error, job = last_event(stack, path, body)
    for name in within:
        error = error[name]
    assert (error["code"], error["type"], error["spool"]) == ("server_overloaded", "server_error", OWN)
    kept = stack.client(0).get(f"/jobs/{job}").json()["error"]
    assert kept["upstream"] == {"status": 503, "code": "server_overloaded", "type": "server_error"}


def test_overloaded_in_other_streams(stack: Stack) -> None:
    """The surfaces of other vendors say the same, in their own words."""
    said, _job = last_event(stack, "/v1/messages", {**STREAMED, "max_tokens": 9})
    assert (said["error"]["type"], said["error"]["spool"]) == ("overloaded_error", OWN)
    assert said["error"]["message"].startswith("server_overloaded: ")
    said, _job = last_event(stack, "/api/chat", STREAMED)
    assert said["error"].startswith("server_overloaded: ")
    assert said["spool"] == OWN
    said, job = last_event(stack, "/agui", {**RUN, "messages": MESSAGES})
    assert (said["type"], said["code"]) == ("RUN_ERROR", "server_overloaded")
    assert said["rawEvent"] == stack.client(0).get(f"/jobs/{job}").json()["error"]


def test_overloaded_in_a_chat_of_the_ai_sdk(stack: Stack) -> None:
    """The chat's stream has a part with the codes before its error, which is a text."""
    message = {"id": "m", "role": "user", "parts": [{"type": "text", "text": OVERLOADED}]}
    answer = stack.client(0).post("/ai/chat", json={"id": "later", "messages": [message], "model": "fails"})
    chunks = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
    part = next(chunk for chunk in chunks if chunk["type"] == "data-error")
    assert part["data"] == {"code": "server_overloaded", "status": 503, "type": "server_error", "spool": OWN}
    assert chunks[-1]["type"] == "error"


def test_background_response_is_read_by_its_id(client: OpenAI) -> None:
    """The stream of a background response begins at once, and its failure is an event."""
    events = list(client.responses.create(model="fails", input="context", stream=True, background=True))
    assert [event.type for event in events[:2]] == ["response.created", "response.queued"]
    assert events[-1].type == "response.failed"
    failed = client.responses.retrieve(events[0].response.id)  # type: ignore[union-attr]
    assert failed.error is not None
    assert (failed.status, failed.error.code) == ("failed", "context_length_exceeded")
