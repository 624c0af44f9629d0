"""``/v1/chat/completions`` as the official Python SDK sees it, unmodified but for its base URL."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import openai
import orjson
import pytest
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

from tests.compatible.event_loop import run_in_own_loop
from tests.stack import Stack, running_stack, wait_for

ASK: Any = [{"role": "user", "content": "What is a spool?"}]
FAST = {"rate": 0}
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


@pytest.fixture(scope="module")
def client(stack: Stack) -> Iterator[OpenAI]:
    """The SDK, at the first web."""
    with OpenAI(base_url=f"{stack.webs[0].url}/v1", api_key="none") as sdk:
        yield sdk


def test_whole_completion(client: OpenAI, stack: Stack) -> None:
    """The completion has the job's text, its usage and its finish reason; the job's id is in a header."""
    raw = client.chat.completions.with_raw_response.create(model="demo", messages=ASK, extra_body=FAST)
    completion = raw.parse()
    job = stack.client(1).get(f"/jobs/{raw.headers['x-spool-job']}").json()
    assert completion.choices[0].message.content == job["text"]
    assert completion.choices[0].finish_reason == "stop"
    assert completion.usage is not None
    assert completion.usage.completion_tokens == job["usage"]["output_tokens"]
    assert completion.id == f"chatcmpl-{job['id']}"
    assert job["status"] == "succeeded"


def test_completion_that_waits(client: OpenAI) -> None:
    """The comments that tell why a job waits do not reach the SDK's user, whose chunks are as ever."""
    spool = {"not_before": (datetime.now(UTC) + timedelta(seconds=2.5)).isoformat()}
    asked: Any = {"model": "demo", "messages": ASK, "stream": True}
    chunks = [
        list(client.chat.completions.create(**asked, extra_body={**FAST, **extra})) for extra in ({"spool": spool}, {})
    ]
    waited, plain = ([chunk.choices[0].model_dump() for chunk in stream] for stream in chunks)
    assert waited == plain


@pytest.mark.parametrize("wants_usage", [False, True])
def test_streamed_completion(client: OpenAI, wants_usage: bool) -> None:
    """The chunks add up to the text; a chunk with the usage comes last, and only on request."""
    options: Any = {"stream_options": {"include_usage": True}} if wants_usage else {}
    stream = client.chat.completions.create(model="demo", messages=ASK, stream=True, extra_body=FAST, **options)
    chunks = list(stream)
    assert chunks[0].choices[0].delta.role == "assistant"
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    whole = client.chat.completions.create(model="demo", messages=ASK, extra_body=FAST)
    assert text == whole.choices[0].message.content
    assert [bool(chunk.usage) for chunk in chunks] == [False] * (len(chunks) - 1) + [wants_usage]
    if wants_usage:
        assert chunks[-1].choices == []
        assert chunks[-1].usage == whole.usage
    finish = [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason]
    assert finish == ["stop"]


def test_length(client: OpenAI) -> None:
    """``max_tokens`` reaches the model, and ``length`` comes back."""
    for name in ("max_tokens", "max_completion_tokens"):
        limit: Any = {name: 4}
        completion = client.chat.completions.create(model="demo", messages=ASK, extra_body=FAST, **limit)
        assert completion.choices[0].finish_reason == "length"
        assert completion.usage is not None
        assert completion.usage.completion_tokens == 4


def test_tool_call_and_its_result(client: OpenAI) -> None:
    """A forced tool call, whole and streamed; and the answer to its result."""
    asked: Any = [{"role": "user", "content": "How is Madrid?"}]
    options: Any = {"model": "demo", "messages": asked, "tools": [WEATHER], "tool_choice": "required"}
    message = client.chat.completions.create(**options, extra_body=FAST).choices[0].message
    assert message.content is None
    assert message.tool_calls is not None
    call: Any = message.tool_calls[0]
    assert (call.function.name, call.function.arguments) == ("get_weather", '{"city":"Madrid"}')
    with client.chat.completions.stream(**options, extra_body=FAST) as stream:
        streamed = stream.get_final_completion().choices[0]
    assert streamed.finish_reason == "tool_calls"
    assert streamed.message.tool_calls is not None
    assert streamed.message.tool_calls[0].function.arguments == call.function.arguments
    result: Any = [*asked, message.to_dict(), {"role": "tool", "tool_call_id": call.id, "content": "sunny"}]
    answer = client.chat.completions.create(model="demo", messages=result, tools=[WEATHER], extra_body=FAST)
    assert "sunny" in (answer.choices[0].message.content or "")


def test_structured_output(client: OpenAI) -> None:
    """``.parse()`` gets an object of the caller's own class."""

    class Spool(BaseModel):
        colour: str
        metres: int

    parsed = client.chat.completions.parse(model="demo", messages=ASK, response_format=Spool, extra_body=FAST)
    assert isinstance(parsed.choices[0].message.parsed, Spool)


def test_client_that_leaves(client: OpenAI, stack: Stack) -> None:
    """A client that leaves stops nothing: its job ends, and can be read."""
    slow = {"tokens": 40, "rate": 40}
    with client.chat.completions.with_streaming_response.create(
        model="demo", messages=ASK, stream=True, extra_body=slow
    ) as response:
        job = response.headers["x-spool-job"]
    kept = stack.client(1).get(f"/jobs/{job}/entries", params={"after": 41, "wait": 10}).json()
    assert kept["status"] in ("running", "succeeded")
    assert kept["entries"]


def test_failure(client: OpenAI) -> None:
    """A job that fails is an error of the SDK's, whole or in the stream, and is not asked again."""
    before = client.chat.completions.with_raw_response.create(model="demo", messages=ASK, extra_body={"tokens": 1})
    assert before.status_code == 200
    with pytest.raises(openai.InternalServerError, match="failed after 3 tokens") as raised:
        client.chat.completions.create(model="demo", messages=ASK, extra_body={"fail_after": 3, "rate": 0})
    assert raised.value.response.headers["x-should-retry"] == "false"
    assert raised.value.code == "demo_failure"
    with pytest.raises(openai.APIError, match="failed after 3 tokens"):
        list(client.chat.completions.create(model="demo", messages=ASK, stream=True, extra_body={"fail_after": 3}))


def test_cancelled_elsewhere(client: OpenAI, stack: Stack) -> None:
    """A stream whose job is cancelled through another surface ends with an error that says so."""
    stream = client.chat.completions.create(
        model="demo", messages=ASK, stream=True, extra_body={"tokens": 5000, "rate": 20}
    )
    job = stream.response.headers["x-spool-job"]
    stack.client(1).post(f"/jobs/{job}/cancel")
    with pytest.raises(openai.APIError, match="cancelled"):
        list(stream)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"n": 0}, "n"),
        ({"modalities": ["video"]}, "modalities"),
        ({"functions": []}, "functions"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "nobody"}]}, "messages[0].role"),
        ({"tokens": -1}, "tokens"),
    ],
)
def test_what_is_refused(client: OpenAI, body: dict[str, Any], param: str) -> None:
    """What Spool would have to do and does not is refused by its field's name; harmless extras are not."""
    with pytest.raises(openai.BadRequestError) as raised:
        client.chat.completions.create(model="demo", messages=ASK, extra_body=body)
    assert raised.value.param == param
    harmless: Any = {"temperature": 0.2, "seed": 3, "user": "u", "top_k": 5, "service_tier": "auto", "x": [1], **FAST}
    assert client.chat.completions.create(model="demo", messages=ASK, extra_body=harmless).choices


def test_async_client(stack: Stack) -> None:
    """The asynchronous SDK streams as well."""

    async def run() -> str:
        async with AsyncOpenAI(base_url=f"{stack.webs[0].url}/v1", api_key="none") as sdk:
            stream = await sdk.chat.completions.create(model="demo", messages=ASK, stream=True, extra_body=FAST)
            return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    assert "demo" in run_in_own_loop(run())


def test_body_that_is_no_json(stack: Stack) -> None:
    """Whatever is wrong is said in OpenAI's shape, with an id to ask about."""
    client = stack.client(0)
    for answer in (
        client.post("/v1/chat/completions", content=b"{", headers={"Content-Type": "application/json"}),
        client.post("/v1/chat/completions", content=b"[]", headers={"Content-Type": "application/json"}),
        client.post("/v1/chat/completions", content=_deep(300), headers={"Content-Type": "application/json"}),
        client.get("/v1/chat/completions"),
        client.get("/v1/nothing"),
    ):
        assert answer.status_code in (400, 404, 405)
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
        assert answer.headers["x-request-id"].startswith("req_")


def _deep(levels: int) -> bytes:
    return b'{"messages":[{"role":"user","content":"x"}],"x":' + b"[" * levels + b"]" * levels + b"}"


@pytest.mark.slow
def test_drain_in_the_middle(directory: Path) -> None:
    """A web that is told to stop keeps its stream as long as it may, and ends it with an error, not with half an answer
    that looks whole."""
    with running_stack(directory, webs=1, workers=1) as stack:
        with OpenAI(base_url=f"{stack.webs[0].url}/v1", api_key="none", max_retries=0) as sdk:
            stream = sdk.chat.completions.create(
                model="demo", messages=ASK, stream=True, extra_body={"tokens": 5000, "rate": 20}
            )
            next(stream)
            stack.webs[0].stop()
            with pytest.raises((openai.APIError, ConnectionError), match="draining"):
                list(stream)
        lines = [orjson.loads(line) for line in stack.webs[0].output.read_bytes().splitlines() if line[:1] == b"{"]
        assert not [line for line in lines if line.get("level") == "error"]


@pytest.mark.slow
@pytest.mark.parametrize("counts", [True, False])
def test_drain_while_the_whole_answer_is_awaited(directory: Path, counts: bool) -> None:
    """The job goes on and its answer is kept. The SDK, which counts its tries, tries again by itself and gets the same
    job; without a count, the response says that it should not."""
    headers: dict[str, Any] = {} if counts else {"x-stainless-retry-count": openai.Omit()}
    with running_stack(directory, webs=1, workers=1) as stack, ThreadPoolExecutor(1) as pool:
        with OpenAI(base_url=f"{stack.webs[0].url}/v1", api_key="none", max_retries=4) as sdk:
            slow = {"tokens": 120, "rate": 20}
            waiting = pool.submit(
                sdk.chat.completions.create, model="demo", messages=ASK, extra_body=slow, extra_headers=headers
            )
            jobs = wait_for(lambda: stack.client().get("/jobs").json()["jobs"], "the job is there")
            assert stack.webs[0].stop() == 0
            stack.webs[0].start()
            if counts:
                assert waiting.result(30).id == f"chatcmpl-{jobs[0]['id']}"
            else:
                with pytest.raises(openai.InternalServerError, match=f"resp_{jobs[0]['id']}"):
                    waiting.result(30)
        wait_for(stack.webs[0].is_ready, "the web is back")
        assert [job["id"] for job in stack.client().get("/jobs").json()["jobs"]] == [jobs[0]["id"]]
