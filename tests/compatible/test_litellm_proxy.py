"""LiteLLM's proxy before Spool, unmodified: what a client of the proxy gets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI

from tests.compatible.applications import clean, programs_of
from tests.scripted_upstream import ScriptedUpstream
from tests.stack import Process, Stack, free_port, wait_for

# `make clients` runs them: the proxy takes a while to start.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

KEY = "sk-0123456789abcdef0123456789abcdef"
PROMPT = "What is a spool?"
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def messages(prompt: str) -> list[Any]:
    """A conversation of one turn."""
    return [{"role": "user", "content": prompt}]


@pytest.fixture(scope="module")
def client(
    stack_and_upstreams: tuple[Stack, dict[str, ScriptedUpstream]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OpenAI]:
    """The SDK at a proxy that passes everything on to Spool. Neither repeats anything: the proxy would send what failed
    with 429 or 5xx three times, as it does to any vendor."""
    proxy = programs_of("litellm") / "litellm"
    directory, port = tmp_path_factory.mktemp("proxy"), free_port()
    base = {"api_base": f"{stack_and_upstreams[0].webs[0].url}/v1", "api_key": "none"}
    models = [{"model_name": name, "litellm_params": {"model": f"openai/{name}", **base}} for name in ("demo", "fails")]
    # YAML takes JSON.
    config = directory / "config.yaml"
    config.write_text(json.dumps({"model_list": models, "litellm_settings": {"num_retries": 0}}))
    env = {**clean(), "HOME": str(directory), "LITELLM_MASTER_KEY": KEY, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    argv = [str(proxy), "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
    process = Process("litellm", argv, env, directory)
    process.start()
    try:
        wait_for(lambda: is_up(process, port), f"the proxy is up; see {process.output}", 240)
        with OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key=KEY, max_retries=0) as sdk:
            yield sdk
    finally:
        process.close()


def is_up(process: Process, port: int) -> bool:
    """Whether the proxy answers."""
    assert process.running, process.output.read_text(encoding="utf-8", errors="replace")
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health/liveliness", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def jobs_of(stack: Stack, before: set[str]) -> list[dict[str, Any]]:
    """The jobs that there were not before."""
    return [job for job in stack.client().get("/jobs?limit=200").json()["jobs"] if job["id"] not in before]


def ids_of(stack: Stack) -> set[str]:
    """The jobs that there are."""
    return {job["id"] for job in stack.client().get("/jobs?limit=200").json()["jobs"]}


@pytest.fixture
def stack(stack_and_upstreams: tuple[Stack, dict[str, ScriptedUpstream]]) -> Stack:
    """The Spool behind the proxy."""
    return stack_and_upstreams[0]


def test_whole(client: OpenAI, stack: Stack) -> None:
    """An answer is whole, with its usage, and one job."""
    before = ids_of(stack)
    answer = client.chat.completions.create(model="demo", messages=messages(PROMPT), extra_body={"rate": 0})
    assert PROMPT in str(answer.choices[0].message.content)
    assert answer.usage is not None
    assert answer.usage.completion_tokens > 0
    assert len(jobs_of(stack, before)) == 1


def test_stream(client: OpenAI) -> None:
    """The pieces of a stream are many, and add up to the answer."""
    stream: Any = client.chat.completions.create(model="demo", messages=messages(PROMPT), stream=True)
    pieces = [chunk.choices[0].delta.content for chunk in stream if chunk.choices]
    assert len([piece for piece in pieces if piece]) > 20
    assert PROMPT in "".join(piece or "" for piece in pieces)


def test_responses(client: OpenAI) -> None:
    """The proxy's responses are Spool's."""
    answer = client.responses.create(model="demo", input=PROMPT, extra_body={"rate": 0})
    assert PROMPT in answer.output_text


def test_tool(client: OpenAI) -> None:
    """A tool is called, and its result is in the answer."""
    asked = messages("Ask get_weather about Oslo")
    called: Any = client.chat.completions.create(model="demo", messages=asked, tools=[TOOL]).choices[0].message
    (call,) = called.tool_calls
    assert json.loads(call.function.arguments) == {"city": "Oslo"}
    result = {"role": "tool", "tool_call_id": call.id, "content": "18 degrees in Oslo"}
    turns = [*asked, called.model_dump(exclude_none=True), result]
    answer: Any = client.chat.completions.create(model="demo", messages=turns, tools=[TOOL])
    assert "18 degrees in Oslo" in answer.choices[0].message.content


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize(
    ("reason", "error", "said"),
    [
        ("context", openai.BadRequestError, "context_length_exceeded"),
        ("filter", openai.BadRequestError, "content_filter"),
        ("quota", openai.RateLimitError, "insufficient_quota"),
    ],
)
def test_failure(client: OpenAI, stack: Stack, reason: str, error: type[Exception], said: str, streams: bool) -> None:
    """A failure before the first token is the upstream's, and one job."""
    before = ids_of(stack)
    with pytest.raises(error) as caught:
        client.chat.completions.create(model="fails", messages=messages(reason), stream=streams)
    assert said in str(caught.value)
    assert len(jobs_of(stack, before)) == 1


def test_failure_in_the_stream(client: OpenAI, stack: Stack) -> None:
    """A later failure is an error after the text so far, and one job."""
    before, pieces = ids_of(stack), []
    stream = client.chat.completions.create(model="fails", messages=messages("later quota"), stream=True)
    with pytest.raises(openai.APIError, match="no money"):
        pieces.extend(chunk.choices[0].delta.content for chunk in stream)
    assert "".join(piece or "" for piece in pieces) == "Hel"
    assert len(jobs_of(stack, before)) == 1
