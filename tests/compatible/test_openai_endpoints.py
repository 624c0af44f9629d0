"""Embeddings, pictures and completions of the older kind, as the official SDK for Python asks for them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI

from tests.compatible.scripts import answers
from tests.scripted_upstream import Call, ScriptedUpstream
from tests.stack import Stack
from web.openai.endpoint_requests import CompletionsRequest, EmbeddingsRequest

FAST = {"rate": 0, "first_token_s": 0}
WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("embeddings", {}, "input"),
    ("embeddings", {"input": ""}, "input"),
    ("embeddings", {"input": []}, "input"),
    ("embeddings", {"input": ["a", ""]}, "input"),
    ("embeddings", {"input": ["a", 1]}, "input"),
    ("embeddings", {"input": [None]}, "input"),
    ("embeddings", {"input": ["a"] * 2049}, "input"),
    ("embeddings", {"input": "a", "encoding_format": "hex"}, "encoding_format"),
    ("embeddings", {"input": "a", "dimensions": 0}, "dimensions"),
    ("embeddings", {"input": "a", "stream": True}, "stream"),
    ("images/generations", {}, "prompt"),
    ("images/generations", {"prompt": ""}, "prompt"),
    ("images/generations", {"prompt": "a", "n": 11}, "n"),
    ("images/generations", {"prompt": "a", "stream": True}, "stream"),
    ("completions", {}, "prompt"),
    ("completions", {"prompt": [""]}, "prompt"),
    ("completions", {"prompt": ["a", [1]]}, "prompt"),
]


@pytest.fixture(scope="module")
def client(stack_and_upstreams: tuple[Stack, dict[str, ScriptedUpstream]]) -> Iterator[OpenAI]:
    """The SDK."""
    with OpenAI(base_url=f"{stack_and_upstreams[0].webs[0].url}/v1", api_key="none", max_retries=0) as sdk:
        yield sdk


def test_one_text_of_many_tokens() -> None:
    """The limit of inputs is none of one text's tokens."""
    EmbeddingsRequest(input=[1] * 8192).check()
    CompletionsRequest(prompt=[[1] * 8192]).check()


def test_embeddings(client: OpenAI) -> None:
    """Embeddings come by the SDK's own format (base64) as by numbers, for texts and for tokens."""
    packed = client.embeddings.create(model="demo", input=["one", "two words"])
    plain = client.embeddings.create(model="demo", input=["one", "two words"], encoding_format="float")
    assert [item.embedding for item in packed.data] == [item.embedding for item in plain.data]
    assert (packed.usage.prompt_tokens, packed.model) == (3, "demo")
    tokens = client.embeddings.create(model="demo", input=[[1, 2], [3]], dimensions=16)
    assert [len(item.embedding) for item in tokens.data] == [16, 16]


def test_result_is_in_the_log(client: OpenAI, stack_and_upstreams: tuple[Stack, dict[str, ScriptedUpstream]]) -> None:
    """The answer is the job's result, in pieces, whoever reads the log; the job is charged for its tokens."""
    raw = client.embeddings.with_raw_response.create(model="demo", input=["a b"] * 40, encoding_format="float")
    with stack_and_upstreams[0].client() as native:
        path = f"/jobs/{raw.headers['x-spool-job']}"
        entries = native.get(f"{path}/entries").json()["entries"]
        job = native.get(path).json()
    pieces = [entry["body"] for entry in entries if entry["kind"] == "result"]
    assert len(pieces) > 1
    assert "".join(pieces) == raw.text
    assert [entry["kind"] for entry in entries if entry["kind"] != "result"] == ["started", "usage", "done"]
    assert (job["status"], job["text"], job["usage"]) == ("succeeded", "", {"input_tokens": 80, "output_tokens": 0})


def test_pictures(client: OpenAI) -> None:
    """As many pictures as asked for."""
    answer = client.images.generate(model="demo", prompt="a spool", n=2)
    assert answer.data is not None
    assert all(item.b64_json for item in answer.data)
    assert len(answer.data) == 2


def test_completion_whole_and_streamed(client: OpenAI) -> None:
    """A completion has the same text whole and as a stream, and its usage where it is asked for."""
    asked: Any = {"model": "demo", "prompt": "Hello", "max_tokens": 9, "extra_body": FAST}
    whole = client.completions.create(**asked)
    *chunks, last = client.completions.create(**asked, stream=True, stream_options={"include_usage": True})
    assert whole.choices[0].text == "".join(chunk.choices[0].text for chunk in chunks)
    assert whole.choices[0].finish_reason == chunks[-1].choices[0].finish_reason == "length"
    assert whole.usage == last.usage
    assert whole.usage is not None
    assert whole.usage.completion_tokens == 9


def test_several_completions(client: OpenAI) -> None:
    """Several completions of several prompts have their indexes, whole and as a stream."""
    asked: Any = {"model": "demo", "prompt": ["Hello", "Hi"], "n": 2, "max_tokens": 3}
    whole = client.completions.create(**asked)
    chunks = list(client.completions.create(**asked, stream=True))
    assert [choice.index for choice in whole.choices] == [0, 1, 2, 3]
    assert [chunk.choices[0] for chunk in chunks] == whole.choices


def test_repeated_request_is_one_job(client: OpenAI) -> None:
    """The same Idempotency-Key gets the same job's result."""
    again = {"Idempotency-Key": "embed-once"}
    first, second = (
        client.embeddings.with_raw_response.create(model="demo", input="a", extra_headers=again) for _ in range(2)
    )
    assert first.headers["x-spool-job"] == second.headers["x-spool-job"]
    assert first.text == second.text


@pytest.mark.parametrize("endpoint", ["embeddings", "images/generations", "completions"])
def test_upstream_that_refuses(stack_and_upstreams: tuple[Stack, dict[str, ScriptedUpstream]], endpoint: str) -> None:
    """The upstream's own error is the answer: its status, code and type."""
    stack, upstreams = stack_and_upstreams
    error = {"message": "no such endpoint", "type": "invalid_request_error", "code": "unsupported", "param": "model"}

    def refuses(call: Call) -> None:
        call.json(404, {"error": error})

    upstream = upstreams["m"]
    upstream.scripts[:] = [answers] * len(upstream.calls) + [refuses, answers]
    with stack.client() as http:
        response = http.post(f"/v1/{endpoint}", json={"model": "m", "input": "a", "prompt": "a"})
    assert response.status_code == 404
    assert {name: response.json()["error"][name] for name in ("type", "code", "param")} == {
        name: error[name] for name in ("type", "code", "param")
    }
    assert response.headers["x-should-retry"] == "false"


@pytest.mark.parametrize(("endpoint", "body", "param"), WRONG, ids=repr)
def test_wrong_bodies(client: OpenAI, endpoint: str, body: dict[str, Any], param: str) -> None:
    """A body that no upstream can answer is refused with the name of its field."""
    with pytest.raises(openai.BadRequestError) as caught:
        client.post(f"/{endpoint}", body={"model": "demo", **body}, cast_to=object)
    assert str(caught.value.param).partition(".")[0].partition("[")[0] == param


@pytest.mark.parametrize("endpoint", ["embeddings", "images/generations", "completions"])
def test_unknown_model(client: OpenAI, endpoint: str) -> None:
    """An unknown model is a 404 with OpenAI's code."""
    with pytest.raises(openai.NotFoundError) as caught:
        client.post(f"/{endpoint}", body={"model": "none", "input": "a", "prompt": "a"}, cast_to=object)
    assert caught.value.code == "model_not_found"


def test_several_answers(client: OpenAI) -> None:
    """``n`` answers have their indexes, whole and as a stream."""
    asked: Any = {"model": "demo", "messages": [{"role": "user", "content": "Hello"}], "n": 3, "max_tokens": 4}
    whole = client.chat.completions.with_raw_response.create(**asked)
    answers_of = whole.parse()
    assert [choice.index for choice in answers_of.choices] == [0, 1, 2]
    chunks = list(client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    texts = {choice.index: choice.delta.content for chunk in chunks for choice in chunk.choices if choice.delta.content}
    assert texts == {choice.index: choice.message.content for choice in answers_of.choices}
    assert chunks[-1].usage == answers_of.usage


def probable(call: Call) -> None:
    """A text with log probabilities, as an upstream sends them."""
    call.begin()
    for text in ("Hel", "lo"):
        token = {"token": text, "logprob": -0.5, "bytes": None, "top_logprobs": []}
        choice = {"index": 0, "delta": {"content": text}, "logprobs": {"content": [token], "refusal": None}}
        call.event({"choices": [{**choice, "finish_reason": None}]})
    call.done()


def test_log_probabilities(client: OpenAI, stack_and_upstreams: tuple[Stack, dict[str, ScriptedUpstream]]) -> None:
    """Log probabilities that the upstream sends are the answer's, whole and as a stream; its text is as without."""
    upstream = stack_and_upstreams[1]["m"]

    asked: Any = {"model": "m", "messages": [{"role": "user", "content": "x"}], "logprobs": True, "top_logprobs": 2}
    upstream.scripts[:] = [answers] * len(upstream.calls) + [probable, probable, answers]
    choice = client.chat.completions.create(**asked).choices[0]
    assert (upstream.calls[-1].body["logprobs"], upstream.calls[-1].body["top_logprobs"]) == (True, 2)
    chunks = list(client.chat.completions.create(**asked, stream=True))
    assert choice.message.content == "Hello" == "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert choice.logprobs is not None
    assert choice.logprobs.content is not None
    streamed = [
        item for chunk in chunks if chunk.choices[0].logprobs for item in chunk.choices[0].logprobs.content or ()
    ]
    assert [item.token for item in choice.logprobs.content] == ["Hel", "lo"] == [item.token for item in streamed]


def test_log_probabilities_of_a_response(
    client: OpenAI, stack_and_upstreams: tuple[Stack, dict[str, ScriptedUpstream]]
) -> None:
    """They are those of the response's text, whole, in the stream, and in one that is resumed anywhere; a response that
    did not ask has none."""
    upstream = stack_and_upstreams[1]["m"]
    upstream.scripts[:] = [answers] * len(upstream.calls) + [probable] * 3 + [answers]
    asked: Any = {"model": "m", "input": "x", "include": ["message.output_text.logprobs"], "top_logprobs": 2}
    whole = client.responses.create(**asked)
    call = upstream.calls[-1].body
    assert (call["logprobs"], call["top_logprobs"], whole.top_logprobs) == (True, 2, 2)
    assert tokens_of(whole) == ["Hel", "lo"]
    events: Any = list(client.responses.create(**asked, stream=True))
    assert tokens_of(events[-1].response) == ["Hel", "lo"]
    deltas = [event for event in events if event.type == "response.output_text.delta"]
    assert [token.token for event in deltas for token in event.logprobs] == ["Hel", "lo"]
    assert "".join([event.delta for event in deltas]) == "Hello"
    done = next(event for event in events if event.type == "response.output_text.done")
    assert [token.token for token in done.logprobs] == ["Hel", "lo"]
    for after in range(len(events)):
        rest: Any = list(client.responses.retrieve(events[0].response.id, stream=True, starting_after=after))
        assert rest == events[after + 1 :]
    assert tokens_of(client.responses.create(model="m", input="x")) == []


def tokens_of(response: Any) -> list[str]:
    """The tokens with log probabilities of its message."""
    (item,) = response.output
    return [token.token for token in item.content[0].logprobs]


def test_several_answers_of_an_upstream(
    client: OpenAI, stack_and_upstreams: tuple[Stack, dict[str, ScriptedUpstream]]
) -> None:
    """``n`` answers are one request without a stream, whose answer gets the callers' names; the next turn goes on from
    the first."""
    upstream = stack_and_upstreams[1]["m"]
    choices = [
        {"index": n, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        for n, text in enumerate("ab")
    ]
    document = {"id": "theirs", "model": "theirs", "object": "chat.completion", "created": 1, "choices": choices}
    upstream.scripts[:] = [answers] * len(upstream.calls) + [lambda call: call.json(200, document), answers]
    messages: Any = [{"role": "user", "content": "x"}]
    raw = client.chat.completions.with_raw_response.create(model="m", messages=messages, n=2, seed=1)
    assert upstream.calls[-1].body == {"model": "m", "messages": messages, "n": 2, "seed": 1, "stream": False}
    found = raw.parse()
    assert (found.id, found.model) == (f"chatcmpl-{raw.headers['x-spool-job']}", "m")
    assert [choice.message.content for choice in found.choices] == ["a", "b"]
    client.responses.create(model="m", input="And?", previous_response_id=f"resp_{raw.headers['x-spool-job']}")
    assert [message["content"] for message in upstream.calls[-1].body["messages"]] == ["x", "a", "And?"]
