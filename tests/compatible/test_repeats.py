"""Tries of one request are one job: the official SDKs for Python, whose first tries get no answer in time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from openai import OpenAI

from tests.scripted_upstream import Call, ScriptedUpstream
from tests.stack import Stack

if TYPE_CHECKING:
    from anthropic import Anthropic

TIMEOUT_S = 0.5
MESSAGES: Any = [{"role": "user", "content": "Hi"}]


class Tries:
    """The tries that an SDK makes of one request. ``another``: it has begun a second one."""

    def __init__(self) -> None:
        self.counts: list[str] = []
        self.another = threading.Event()

    def note(self, request: Any) -> None:
        """Note a request before it is sent."""
        self.counts.append(request.headers["x-stainless-retry-count"])
        if len(self.counts) > 1:
            self.another.set()


class Late:
    """An upstream that answers a prompt only once its client has begun another try."""

    def __init__(self) -> None:
        self.tries: dict[str, Tries] = {}
        self.calls: list[str] = []

    def answer(self, call: Call) -> None:
        """Answer a call in the middle of the client's second try, or later."""
        prompt = call.body["messages"][-1]["content"]
        self.calls.append(prompt)
        self.tries[prompt].another.wait(30)
        call.begin()
        for text in ("one ", "two ", "three"):
            call.text(text)
        call.done()


def chat(client: OpenAI, prompt: str) -> str:
    """A whole completion's text."""
    answer = client.chat.completions.create(model="m", messages=[{"role": "user", "content": prompt}])
    return answer.choices[0].message.content or ""


def chat_stream(client: OpenAI, prompt: str) -> str:
    """A streamed completion's text."""
    chunks = client.chat.completions.create(model="m", messages=[{"role": "user", "content": prompt}], stream=True)
    return "".join([chunk.choices[0].delta.content or "" for chunk in chunks])


def response(client: OpenAI, prompt: str) -> str:
    """A whole response's text."""
    return client.responses.create(model="m", input=prompt).output_text


def response_stream(client: OpenAI, prompt: str) -> str:
    """A streamed response's text."""
    events = client.responses.create(model="m", input=prompt, stream=True)
    return "".join([event.delta for event in events if event.type == "response.output_text.delta"])


def message(client: Anthropic, prompt: str) -> str:
    """A whole message's text."""
    answer = client.messages.create(model="m", max_tokens=9, messages=[{"role": "user", "content": prompt}])
    return "".join([block.text for block in answer.content if block.type == "text"])


ASKS: dict[str, Callable[[Any, str], str]] = {
    "chat": chat,
    "chat stream": chat_stream,
    "response": response,
    "response stream": response_stream,
    "message": message,
}


def client_for(name: str, url: str, tries: Tries) -> OpenAI | Anthropic:
    """The SDK with a short timeout, as its users set it, and a hook that sees its tries."""
    http = httpx2.Client(event_hooks={"request": [tries.note]})
    usual: Any = {"api_key": "none", "timeout": TIMEOUT_S, "max_retries": 9, "http_client": http}
    if name != "message":
        return OpenAI(base_url=f"{url}/v1", **usual)
    # Loading it takes seconds, which every process that collects this module would spend.
    from anthropic import Anthropic

    return Anthropic(base_url=url, **usual)


def test_timeout_and_retry(stack_and_upstreams: tuple[Stack, dict[str, ScriptedUpstream]]) -> None:
    """Each request is one call at the upstream, and the SDK's later try gets the whole text."""
    stack, upstreams = stack_and_upstreams
    late, scripts = Late(), upstreams["m"].scripts
    upstreams["m"].scripts = [late.answer]
    late.tries = {name: Tries() for name in ASKS}

    def ask(name: str) -> str:
        with client_for(name, stack.webs[0].url, late.tries[name]) as client:
            return ASKS[name](client, name)

    try:
        with ThreadPoolExecutor(len(ASKS)) as pool:
            texts = list(pool.map(ask, ASKS))
    finally:
        upstreams["m"].scripts = scripts
    assert texts == ["one two three"] * len(ASKS)
    assert sorted(late.calls) == sorted(ASKS)
    assert all(tries.counts[:2] == ["0", "1"] for tries in late.tries.values())


@pytest.mark.parametrize("count", ["0", "1"])
def test_equal_requests(stack_and_upstreams: tuple[Stack, dict[str, ScriptedUpstream]], count: str) -> None:
    """Two equal first tries are two jobs; a second try says that its job is that of the first."""
    client = stack_and_upstreams[0].client(0)
    body = {"model": "demo", "messages": MESSAGES, "rate": 0, "seed": int(count)}
    first = client.post("/v1/chat/completions", json=body, headers={"x-stainless-retry-count": "0"})
    again = client.post("/v1/chat/completions", json=body, headers={"x-stainless-retry-count": count})
    assert (again.headers["X-Spool-Job"] == first.headers["X-Spool-Job"]) is (count == "1")
    assert again.headers.get("Idempotent-Replayed") == ("true" if count == "1" else None)
