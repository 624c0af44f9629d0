"""Whatever is sent to the compatible surfaces, the answer is no internal error, and a refusal has their shape."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.stack import Stack
from tests.web.problem_shape import assert_problem

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
WORDS = st.sampled_from(
    [
        "user",
        "assistant",
        "system",
        "tool",
        "message",
        "function_call",
        "function_call_output",
        "reasoning",
        "item_reference",
        "input_text",
        "input_image",
        "output_text",
        "text",
        "json_schema",
        "function",
        "required",
        "auto",
        "demo",
        "role",
        "content",
        "type",
        "name",
        "call_id",
        "output",
        "id",
        "arguments",
        "parameters",
        "format",
        "schema",
        "effort",
        "file",
        "state",
        "output-available",
        "tool-x",
        "dynamic-tool",
        "toolCallId",
        "input",
    ]
)
LEAVES = st.none() | st.booleans() | st.integers(-3, 2**53) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    LEAVES | WORDS | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS | TEXT, inner, max_size=5),
    max_leaves=14,
)
MESSAGE = st.dictionaries(
    st.sampled_from(["role", "content", "type", "tool_calls", "tool_call_id", "id", "parts", "call_id", "output"]),
    VALUES | st.just([{"type": "text", "text": "x"}]),
    max_size=5,
)
FIELDS = [
    "model",
    "instructions",
    "input",
    "messages",
    "stream",
    "background",
    "store",
    "previous_response_id",
    "tools",
    "tool_choice",
    "text",
    "reasoning",
    "max_output_tokens",
    "temperature",
    "metadata",
    "truncation",
    "include",
    "conversation",
    "prompt",
    "n",
    "modalities",
    "response_format",
    "id",
    "trigger",
    "messageId",
    "system",
    "params",
    "tokens",
    "rate",
    "stop",
    "seed",
]
BODIES = st.dictionaries(st.sampled_from(FIELDS) | TEXT, VALUES | st.lists(MESSAGE, max_size=3), max_size=7)


@pytest.fixture(scope="module")
def client(open_web: Stack) -> Iterator[httpx.Client]:
    """A client of a web behind which no worker runs."""
    with open_web.client() as client:
        yield client


def status_of(client: httpx.Client, path: str, body: Any) -> int:
    """The status of a submit, whose stream nobody waits for; a refusal has its surface's shape."""
    with client.stream(
        "POST", path, content=orjson.dumps(body), headers={"Content-Type": "application/json"}
    ) as answer:
        if answer.status_code >= 400:
            answer.read()
            if path.startswith("/v1/"):
                assert set(answer.json()["error"]) == {"message", "type", "param", "code"}, answer.text
            else:
                assert_problem(answer, answer.status_code)
        return answer.status_code


@given(body=BODIES, messages=st.lists(MESSAGE, min_size=1, max_size=3))
def test_any_body(client: httpx.Client, body: dict[str, Any], messages: list[dict[str, Any]]) -> None:
    """Any body is taken or refused, on each surface, also where its messages are nearly right."""
    for path, field in (("/v1/responses", "input"), ("/v1/chat/completions", "messages"), ("/ai/chat", "messages")):
        for sent in (body, {**body, field: messages, "id": "c", "stream": True, "background": True}):
            if path == "/v1/responses" or sent.get("stream") or path == "/ai/chat":
                # What waits for a whole answer would wait for long here.
                sent = {**sent, **({"background": True} if path == "/v1/responses" else {})}
                assert status_of(client, path, sent) in (200, 400, 404, 409, 410, 413, 422), sent


@given(
    route=st.sampled_from(
        ["/v1/responses/{}", "/v1/responses/resp_{}/input_items", "/v1/models/{}", "/ai/chat/{}/stream", "/v1/{}"]
    ),
    name=TEXT | st.from_regex(r"(resp_)?j[0-9]{1,5}-[0-9a-z]{10,42}", fullmatch=True),
    query=st.dictionaries(st.sampled_from(["stream", "starting_after", "limit", "after", "order"]), TEXT | WORDS),
)
def test_any_read(client: httpx.Client, route: str, name: str, query: dict[str, str]) -> None:
    """Any id with any query is answered."""
    answer = client.get(route.format(quote(name, safe="")), params=query)
    assert answer.status_code < 500, answer.text


@pytest.mark.parametrize(
    ("choice", "field"),
    [
        ({"type": "allowed_tools", "tools": 7}, "tool_choice.tools"),
        ({"type": "allowed_tools"}, "tool_choice.tools"),
        ({"type": "allowed_tools", "tools": [7]}, "tool_choice.tools[0].name"),
        ({"type": "allowed_tools", "tools": [{"name": []}]}, "tool_choice.tools[0].name"),
        ({"type": "allowed_tools", "tools": [{"name": {}}]}, "tool_choice.tools[0].name"),
        ({"type": "allowed_tools", "tools": [], "mode": {}}, "tool_choice.mode"),
        ({"type": "function"}, "tool_choice.name"),
        ({"type": "function", "name": {}}, "tool_choice.name"),
        ({"type": []}, "tool_choice.type"),
        ({}, "tool_choice.type"),
    ],
    ids=repr,
)
def test_tool_choice_of_another_shape(client: httpx.Client, choice: Any, field: str) -> None:
    """A choice of tools that has another shape is refused by its path, whether there are tools or not."""
    for tools in ([], [{"type": "function", "name": "one"}]):
        answer = client.post("/v1/responses", json={"input": "x", "tools": tools, "tool_choice": choice})
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, field)


@pytest.mark.parametrize("kind", ["x" * 100_000, 7, [7] * 50_000, {"a": {}}], ids=lambda value: repr(value)[:10])
def test_wrong_type_is_not_repeated_whole(client: httpx.Client, kind: Any) -> None:
    """The answer stays small, however long a wrong type is."""
    item = {"type": kind, "role": "user", "content": "x"}
    part = {"role": "user", "content": [{"type": kind, "data": "x"}]}
    for body in ({"input": [item]}, {"input": [part]}, {"input": "x", "tools": [{"type": kind}]}):
        answer = client.post("/v1/responses", json=body)
        assert answer.status_code == 400
        assert len(answer.content) < 2000
