"""A log as Anthropic's events: one block at a time, calls whole, and the same again after a fork."""

from __future__ import annotations

import json
from typing import Any

import pytest

from spool.jobs.entries import Entry, Kind
from spool.jobs.job import Job, Status
from web.anthropic.message_events import MessageStream, usage_of

JOB = Job("j0-00000000000000000000000000", Status.RUNNING, "alice", "demo", 1.0, 2.0)
AT = "2026-11-30T08:00:00.000Z"


def row(number: int, kind: Kind, **fields: Any) -> tuple[int, bytes]:
    """One entry of a log."""
    return number, Entry(number, kind, AT, fields).encode()


def call(number: int, index: int, arguments: str, name: str | None = None) -> tuple[int, bytes]:
    """A piece of a tool call."""
    fields = {"index": index, "call_id": f"c{index}" if name else None, "name": name, "arguments": arguments}
    return row(number, Kind.TOOL_CALL, **fields)


def events(data: bytes) -> list[dict[str, Any]]:
    """The events in these bytes."""
    found = []
    for block in data.decode().split("\n\n")[:-1]:
        name, document = block.split("\n")
        found.append(json.loads(document.removeprefix("data: ")))
        assert name == f"event: {found[-1]['type']}"
    return found


def blocks_of(found: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """The blocks that events make: type, and joined deltas. Only one may be open at a time."""
    blocks: list[tuple[str, str]] = []
    is_open = False
    for event in found:
        match event["type"]:
            case "content_block_start":
                assert (is_open, event["index"]) == (False, len(blocks))
                blocks.append((event["content_block"]["type"], ""))
                is_open = True
            case "content_block_delta":
                assert (is_open, event["index"]) == (True, len(blocks) - 1)
                delta = event["delta"]
                text = delta.get("text") or delta.get("thinking") or delta.get("partial_json")
                blocks[-1] = blocks[-1][0], blocks[-1][1] + text
            case "content_block_stop":
                assert (is_open, event["index"]) == (True, len(blocks) - 1)
                is_open = False
    assert not is_open
    return blocks


TEXTS = [row(2, Kind.REASONING, text="Hm"), row(3, Kind.TOKEN, text="Blue"), row(4, Kind.TOKEN, text=" light")]
IN_TURN = [call(5, 0, '{"a"', "one"), call(6, 0, ":1}"), call(7, 1, "{}", "two")]
MIXED = [call(5, 0, '{"a"', "one"), call(6, 1, '{"b"', "two"), call(7, 0, ":1}"), call(8, 1, ":2}")]
END = [row(9, Kind.USAGE, input_tokens=9, output_tokens=7, cached_tokens=4), row(10, Kind.DONE, finish_reason="stop")]


@pytest.mark.parametrize(
    ("calls", "arguments"), [(IN_TURN, ['{"a":1}', "{}"]), (MIXED, ['{"a":1}', '{"b":2}'])], ids=["in turn", "mixed"]
)
def test_blocks_are_whole(calls: list[tuple[int, bytes]], arguments: list[str]) -> None:
    """Pieces of calls that come mixed are blocks one after the other."""
    stream = MessageStream(JOB)
    found = events(stream.entries([*TEXTS, *calls, *END]))
    expected = [("thinking", "Hm"), ("text", "Blue light"), *(("tool_use", said) for said in arguments)]
    assert blocks_of(found) == expected
    assert [event["type"] for event in found[-2:]] == ["message_delta", "message_stop"]
    assert stream.over


def test_entries_one_by_one_make_the_same_bytes() -> None:
    """How entries arrive changes nothing, nor does a fork between any two."""
    rows = [*TEXTS, *MIXED, *END]
    whole = MessageStream(JOB).entries(rows)
    stream, data = MessageStream(JOB), b""
    for entry in rows:
        stream = stream.fork()
        data += stream.entries([entry])
    assert data == whole


def test_restart_before_and_after_output() -> None:
    """A restart is invisible until something was sent, and then ends the stream with an error."""
    restarted = row(3, Kind.RESTARTED, attempt=2, reason="worker_lost")
    stream = MessageStream(JOB)
    assert stream.entries([row(1, Kind.STARTED, attempt=1, model="demo"), restarted]) == b""
    assert events(stream.entries([row(4, Kind.TOKEN, text="a"), restarted]))[-1]["type"] == "error"
    assert stream.over


def test_usage() -> None:
    """Cached tokens stand beside the input, not in it."""
    assert usage_of({"input_tokens": 9, "output_tokens": 7, "cached_tokens": 4}) == {
        "input_tokens": 5,
        "output_tokens": 7,
        "cache_read_input_tokens": 4,
        "cache_creation_input_tokens": 0,
    }
    assert usage_of(None)["input_tokens"] == 0
