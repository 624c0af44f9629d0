"""Entries in, Ollama's lines out."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from spool.jobs.conversation import Answer
from spool.jobs.entries import Kind
from tests.web.ai_sdk.test_ui_stream import call, token
from tests.web.logs import Logs, job_of
from web.ollama.lines import OllamaStream, whole

DONE = (Kind.DONE, {"finish_reason": "tool_calls"})
LOG = [
    (Kind.STARTED, {"attempt": 1, "model": "demo"}),
    (Kind.REASONING, {"text": "Hm"}),
    token("Let me "),
    call(0, "", "one"),
    call(1, '{"b":', "two"),
    call(0, '{"a":1}'),
    call(1, "2}"),
    token("see."),
    (Kind.USAGE, {"input_tokens": 3, "output_tokens": 4}),
]
CALLS = [
    {"id": "c0", "function": {"name": "one", "arguments": {"a": 1}}},
    {"id": "c1", "function": {"name": "two", "arguments": {"b": 2}}},
]


def lines_of(logs: Logs, *, is_chat: bool = True, shows_thinking: bool = True) -> list[dict[str, Any]]:
    """The stream's lines, fed one entry at a time; all at once must give the same."""
    one, other = (OllamaStream(job_of(logs), is_chat=is_chat, shows_thinking=shows_thinking) for _ in range(2))
    data = b"".join([one.opening(), *(one.entries([row]) for row in logs.rows)])
    assert other.entries(logs.rows) == data
    assert one.over
    return [orjson.loads(line) for line in data.splitlines()]


def test_chat() -> None:
    """Texts come one by one, calls whole before the last line, which has the counts."""
    lines = lines_of(Logs([*LOG, DONE]))
    pieces = [{name: value for name, value in line["message"].items() if name != "role"} for line in lines]
    assert pieces == [
        {"content": "", "thinking": "Hm"},
        {"content": "Let me "},
        {"content": "see."},
        {"content": "", "tool_calls": CALLS},
        {"content": ""},
    ]
    assert [line["done"] for line in lines] == [False] * 4 + [True]
    last = lines[-1]
    assert (last["done_reason"], last["prompt_eval_count"], last["eval_count"]) == ("stop", 3, 4)
    assert last["eval_duration"] > 0


def test_generation_without_thinking() -> None:
    """A generation has its text in ``response``, and no thinking if the client turned it off."""
    lines = lines_of(Logs([*LOG, (Kind.DONE, {"finish_reason": "length"})]), is_chat=False, shows_thinking=False)
    assert [line["response"] for line in lines] == ["Let me ", "see.", ""]
    assert not any("thinking" in line or "message" in line for line in lines)
    assert lines[-1]["done_reason"] == "length"


@pytest.mark.parametrize(
    ("end", "message"),
    [
        ((Kind.FAILED, {"error": {"code": "internal", "message": "m"}}), "internal: m"),
        ((Kind.CANCELLED, {}), "cancelled: the job was cancelled"),
        ((Kind.RESTARTED, {"attempt": 2, "reason": "x"}), "restarted: generation was interrupted and restarted"),
    ],
    ids=["failed", "cancelled", "restarted"],
)
def test_other_ends(end: Any, message: str) -> None:
    """An answer that does not end well ends with an error line, on which clients raise."""
    last = lines_of(Logs([*LOG, end]))[-1]
    assert last == {
        "error": message,
        "spool": {"code": message.partition(":")[0], "retryable": last["spool"]["retryable"]},
    }


def test_whole_is_the_sum_of_the_lines() -> None:
    """The whole answer has the texts of all lines, and its calls."""
    logs = Logs([*LOG, DONE])
    answer = Answer("j")
    answer.add_all(logs.entries)
    document = whole(job_of(logs), answer, is_chat=True, shows_thinking=True)
    expected = {"role": "assistant", "content": "Let me see.", "thinking": "Hm", "tool_calls": CALLS}
    assert (document["message"], document["done"], document["eval_count"]) == (expected, True, 4)


def test_heartbeat_is_a_line_without_text() -> None:
    """Clients parse each line, and the format has no comments."""
    stream = OllamaStream(job_of(Logs([*LOG, DONE])), is_chat=True, shows_thinking=True)
    assert orjson.loads(stream.heartbeat())["message"] == {"role": "assistant", "content": ""}
