"""Lines of a batch's output and error files, from the entries of its log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
import pytest

from spool.batches.batch import Batch, BatchState
from tests.web.openai.shapes_of_batches import COUNTS
from web.openai.batch_output import line_of

JOB = "j0-" + "0" * 26
ENTRY: dict[str, Any] = {
    "id": 1,
    "kind": "line",
    "at": "2026-11-21T09:30:00.123Z",
    "batch_index": 3,
    "custom_id": "c",
    "job": JOB,
    "status": "succeeded",
    "model": "m",
    "created_ms": 1000,
    "ended_ms": 2000,
    "content": "",
    "finish_reason": "stop",
    "request_id": "req_1",
}


def batch_of(endpoint: str) -> Batch:
    """A batch of lines for this endpoint."""
    return Batch("b0-" + "0" * 26, "alice", BatchState.COMPLETED, 1, COUNTS, 1000, endpoint=endpoint)


def test_whole_message_is_in_the_body() -> None:
    """Text, reasoning, tool calls and usage are where a chat completion has them."""
    call = {"id": "call_1", "name": "f", "arguments": "{}"}
    usage = {"input_tokens": 2, "output_tokens": 3}
    said = {"content": "Hi", "reasoning": "Hm", "tool_calls": [call], "usage": usage, "finish_reason": "tool_calls"}
    line = line_of(batch_of("/v1/chat/completions"), {**ENTRY, **said})
    assert (line["id"], line["custom_id"], line["error"]) == (f"batch_req_b0-{'0' * 26}_3", "c", None)
    assert line["response"]["request_id"] == "req_1"
    body = line["response"]["body"]
    (choice,) = body["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert (choice["message"]["content"], choice["message"]["reasoning_content"]) == ("Hi", "Hm")
    function = {"name": "f", "arguments": "{}"}
    assert [(each["id"], each["function"]) for each in choice["message"]["tool_calls"]] == [("call_1", function)]
    assert body["usage"]["total_tokens"] == 5


def test_result_of_an_upstream_is_the_body() -> None:
    """What is not text is answered byte for byte."""
    line = line_of(batch_of("/v1/embeddings"), {**ENTRY, "result": '{"data": [1.50]}'})
    assert b'"body":{"data": [1.50]}' in orjson.dumps(line)


def test_calls_and_text_are_items_of_a_response() -> None:
    """The body of a line for responses is a Response object."""
    call = {"id": "call_1", "name": "f", "arguments": "{}"}
    line = line_of(batch_of("/v1/responses"), {**ENTRY, "content": "Hi", "tool_calls": [call]})
    body = line["response"]["body"]
    assert (body["object"], body["status"]) == ("response", "completed")
    assert [item["type"] for item in body["output"]] == ["message", "function_call"]


class Stored:
    """Requests as they are stored."""

    def __init__(self, asked: Mapping[str, Any]) -> None:
        self._asked = asked

    def of(self, index: int) -> Mapping[str, Any]:
        """The fields of the line of ``ENTRY``."""
        assert index == ENTRY["batch_index"]
        return self._asked

    def seal_of(self, asked: Mapping[str, Any]) -> None:
        """No seal."""


def test_response_repeats_its_request() -> None:
    """The body of a line for responses has the fields of its request, as the direct answer does."""
    asked = {"instructions": "Be brief.", "temperature": 0.5, "max_output_tokens": 7}
    line = line_of(batch_of("/v1/responses"), ENTRY, Stored(asked))
    assert {name: line["response"]["body"][name] for name in asked} == asked


@pytest.mark.parametrize(
    ("entry", "status_code", "code"),
    [
        (
            {"error": {"code": "upstream_rejected", "message": "no", "upstream": {"status": 400}}},
            400,
            "upstream_rejected",
        ),
        ({"error": {"code": "upstream_unavailable", "message": "no"}}, 504, "upstream_unavailable"),
        ({"status": "cancelled", "error": {"code": "batch_cancelled", "message": "no"}}, None, "batch_cancelled"),
        ({"status": "cancelled", "error": None}, None, "batch_cancelled"),
        ({"status": "expired", "error": {"code": "deadline_exceeded", "message": "no"}}, None, "batch_expired"),
        ({"error": {"code": "invalid_url", "message": "no", "line": 4, "param": "url"}}, None, "invalid_url"),
    ],
    ids=range(6),
)
def test_line_that_failed(entry: dict[str, Any], status_code: int | None, code: str) -> None:
    """A failed request has the status and the body that its endpoint would have answered; one that never ran has an
    error alone."""
    line = line_of(batch_of("/v1/chat/completions"), {**ENTRY, "status": "failed", **entry})
    if status_code is None:
        assert (line["response"], line["error"]["code"]) == (None, code)
    else:
        assert (line["error"], line["response"]["status_code"]) == (None, status_code)
        assert line["response"]["body"]["error"]["code"] == code
