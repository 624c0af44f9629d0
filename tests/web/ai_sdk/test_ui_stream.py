"""Entries in, the chunks of a UI message stream out."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from spool.jobs.entries import Kind, encode
from spool.jobs.job import Job, Status
from web.ai_sdk.ui_stream import UiMessageStream

ID = "j0-00000000000000000000000000"
JOB = Job(id=ID, status=Status.RUNNING, owner="o", model="demo", created_at=0, deadline_at=1)
START = [{"type": "start", "messageId": f"msg_{ID}"}, {"type": "start-step"}]
DONE = (Kind.DONE, {"finish_reason": "stop"})

Said = tuple[Kind, dict[str, Any]]


def token(text: str) -> Said:
    """A piece of the answer."""
    return Kind.TOKEN, {"text": text}


def call(index: int, arguments: str, name: str | None = None) -> Said:
    """A piece of a tool call; the first one has its name."""
    call_id = f"c{index}" if name else None
    return Kind.TOOL_CALL, {"index": index, "call_id": call_id, "name": name, "arguments": arguments}


def chunks(data: bytes) -> list[Any]:
    """The chunks in these bytes, ``[DONE]`` as text."""
    blocks = data.decode().split("\n\n")
    assert blocks.pop() == ""
    assert all(block.startswith("data: ") for block in blocks)
    return [orjson.loads(text) if text[0] == "{" else text for text in (block[6:] for block in blocks)]


def streamed(*entries: Said) -> list[Any]:
    """What follows the opening for these entries, fed one by one; all at once must give the same."""
    rows = [(n, encode(n, kind, "", fields)) for n, (kind, fields) in enumerate(entries, 1)]
    stream, at_once = (UiMessageStream(JOB, {}, again=False) for _ in range(2))
    assert chunks(stream.opening()) == START
    one_by_one = b"".join([stream.entries([row]) for row in rows])
    assert at_once.entries(rows) == one_by_one
    assert stream.over == at_once.over == one_by_one.endswith(b"data: [DONE]\n\n")
    return chunks(one_by_one)


def test_text() -> None:
    """Text is one part, whose delta is what the entries say, to the letter."""
    assert streamed((Kind.STARTED, {"attempt": 1, "model": "demo"}), token("He\n"), token('l"ό'), DONE) == [
        {"type": "text-start", "id": "text-0"},
        {"type": "text-delta", "id": "text-0", "delta": "He\n"},
        {"type": "text-delta", "id": "text-0", "delta": 'l"ό'},
        {"type": "text-end", "id": "text-0"},
        {"type": "finish-step"},
        {"type": "finish", "finishReason": "stop"},
        "[DONE]",
    ]


def test_reasoning_and_text_take_turns() -> None:
    """Each is a part of its own, ended before the next begins, under an id of its own."""
    kinds = [
        (chunk["type"], chunk["id"])
        for chunk in streamed((Kind.REASONING, {"text": "Hm"}), token("a"), (Kind.REASONING, {"text": "So"}))
    ]
    assert kinds == [
        ("reasoning-start", "reasoning-0"),
        ("reasoning-delta", "reasoning-0"),
        ("reasoning-end", "reasoning-0"),
        ("text-start", "text-1"),
        ("text-delta", "text-1"),
        ("text-end", "text-1"),
        ("reasoning-start", "reasoning-2"),
        ("reasoning-delta", "reasoning-2"),
    ]


def test_tool_calls() -> None:
    """Calls whose pieces are mixed are each whole at the end: with their input parsed, or as an error if it is none."""
    finish = (Kind.DONE, {"finish_reason": "tool_calls"})
    seen = streamed(call(0, "", "a"), call(1, '{"x"', "b"), call(0, '{"y":[1]}'), call(2, "", "c"), finish)
    assert seen == [
        {"type": "tool-input-start", "toolCallId": "c0", "toolName": "a"},
        {"type": "tool-input-start", "toolCallId": "c1", "toolName": "b"},
        {"type": "tool-input-delta", "toolCallId": "c1", "inputTextDelta": '{"x"'},
        {"type": "tool-input-delta", "toolCallId": "c0", "inputTextDelta": '{"y":[1]}'},
        {"type": "tool-input-start", "toolCallId": "c2", "toolName": "c"},
        {"type": "tool-input-available", "toolCallId": "c0", "toolName": "a", "input": {"y": [1]}},
        {
            "type": "tool-input-error",
            "toolCallId": "c1",
            "toolName": "b",
            "input": '{"x"',
            "errorText": seen[6]["errorText"],
        },
        {"type": "tool-input-available", "toolCallId": "c2", "toolName": "c", "input": {}},
        {"type": "finish-step"},
        {"type": "finish", "finishReason": "tool-calls"},
        "[DONE]",
    ]
    assert "not JSON" in seen[6]["errorText"]


@pytest.mark.parametrize(
    ("reason", "shown"),
    [("stop", "stop"), ("length", "length"), ("content_filter", "content-filter"), ("else", "other")],
)
def test_finish_reasons(reason: str, shown: str) -> None:
    """Why it ended, in the SDK's words."""
    assert streamed((Kind.DONE, {"finish_reason": reason}))[-2] == {"type": "finish", "finishReason": shown}


def test_waiting_and_usage() -> None:
    """What is not part of the message comes as data that passes."""
    waiting = {"reason": "rate_limited", "retry_at": "2026-11-21T09:30:00.000Z"}
    usage = {"input_tokens": 3, "output_tokens": 4, "cached_tokens": 1}
    assert streamed((Kind.WAITING, waiting), (Kind.USAGE, usage)) == [
        {"type": "data-waiting", "data": waiting, "transient": True},
        {
            "type": "data-usage",
            "data": {
                "inputTokens": 3,
                "outputTokens": 4,
                "totalTokens": 7,
                "inputTokenDetails": {"cacheReadTokens": 1},
                "outputTokenDetails": {"reasoningTokens": 0},
            },
            "transient": True,
        },
    ]


@pytest.mark.parametrize(
    ("end", "chunk"),
    [
        ((Kind.CANCELLED, {}), {"type": "abort"}),
        (
            (Kind.RESTARTED, {"attempt": 2, "reason": "worker_lost"}),
            {"type": "error", "errorText": "generation was interrupted and restarted"},
        ),
    ],
)
def test_other_ends(end: Said, chunk: dict[str, Any]) -> None:
    """What cannot go on ends the text and says so; nothing follows."""
    assert streamed(token("a"), end, token("b"), DONE)[2:] == [{"type": "text-end", "id": "text-0"}, chunk, "[DONE]"]


def test_failure() -> None:
    """A failure's codes are a part before the error, which has only a text."""
    upstream = {"status": 503, "code": "server_overloaded", "type": "server_error"}
    error = {"code": "upstream_interrupted", "message": "no such luck", "retryable": True, "upstream": upstream}
    *_, part, end, error_chunk, done = streamed(token("a"), (Kind.FAILED, {"error": error}))
    own = {"code": "upstream_interrupted", "retryable": True}
    assert part == {"type": "data-error", "data": {**upstream, "spool": own}, "transient": True}
    assert (end["type"], done) == ("text-end", "[DONE]")
    assert error_chunk == {"type": "error", "errorText": "no such luck"}


def test_restart_before_the_first_word() -> None:
    """An attempt that has said nothing may begin anew; what it thought is another part."""
    restarted = (Kind.RESTARTED, {"attempt": 2, "reason": "worker_lost"})
    seen = streamed((Kind.REASONING, {"text": "Hm"}), restarted, token("a"), (Kind.CONTINUED, {}), token("b"), DONE)
    assert [chunk.get("delta") for chunk in seen[:-1] if "delta" in chunk] == ["Hm", "a", "b"]
    assert seen[-2] == {"type": "finish", "finishReason": "stop"}


def test_message_that_it_goes_on() -> None:
    """An answer that goes on a message has that one's id; only a client that resumes gets its parts again."""
    said = {"message_id": "m1", "parts": [{"type": "step-start"}, {"type": "text", "text": "So."}]}
    sent, again = (chunks(UiMessageStream(JOB, said, again=again).opening()) for again in (False, True))
    assert sent == [{"type": "start", "messageId": "m1"}, {"type": "start-step"}]
    assert [chunk["type"] for chunk in again] == [
        "start",
        "start-step",
        "text-start",
        "text-delta",
        "text-end",
        "finish-step",
        "start-step",
    ]


def test_silence_and_a_server_that_leaves() -> None:
    """A heartbeat is a comment; a stream that cannot go on here says nothing, so that its connection is cut."""
    stream = UiMessageStream(JOB, {}, again=False)
    assert stream.heartbeat() == b": ping\n\n"
    assert stream.broken_off("server_draining", "…") is None  # type: ignore[func-returns-value]
