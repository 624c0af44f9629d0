"""Events of completions of the older kind."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from spool.jobs.conversation import Answer
from spool.jobs.entries import Kind, encode
from spool.jobs.log import Row
from web.examples import JOB, ROWS
from web.openai.completion_chunks import CompletionChunks, text_completion


def chunks_of(data: bytes) -> list[Any]:
    """The data of the events; the end as text."""
    lines = [line.removeprefix("data: ") for line in data.decode().split("\n\n") if line]
    return [line if line == "[DONE]" else orjson.loads(line) for line in lines]


def rows_of(*entries: tuple[Kind, dict[str, Any]]) -> list[Row]:
    """A log of these entries."""
    return [(n, encode(n, kind, "", fields)) for n, (kind, fields) in enumerate(entries, 1)]


def test_stream_has_the_text_of_the_whole() -> None:
    """The events have the whole completion's id, text and finish reason."""
    answer = Answer(JOB.id)
    answer.add_all([raw for _entry_id, raw in ROWS])
    whole = text_completion(JOB, answer)
    stream = CompletionChunks(JOB, wants_usage=True)
    *chunks, usage, done = chunks_of(stream.opening() + stream.entries(ROWS))
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == whole["choices"][0]["text"] == "Blue light."
    assert {chunk["id"] for chunk in chunks} == {whole["id"]}
    assert chunks[-1]["choices"][0]["finish_reason"] == whole["choices"][0]["finish_reason"] == "stop"
    assert (usage["choices"], usage["usage"], done) == ([], whole["usage"], "[DONE]")


@pytest.mark.parametrize("place", range(5))
def test_result_becomes_one_event_for_each_completion(place: int) -> None:
    """Several completions follow one another at the end, from any place at which the stream was forked; those of an
    attempt that was restarted are gone."""
    choices = [{"text": text, "index": n, "logprobs": None, "finish_reason": "stop"} for n, text in enumerate("ab")]
    body = orjson.dumps({"choices": choices, "usage": {"total_tokens": 3}}).decode()
    rows = rows_of(
        (Kind.RESULT, {"body": '{"choices":[{}'}),
        (Kind.RESTARTED, {"attempt": 2, "reason": "worker_lost"}),
        (Kind.RESULT, {"body": body[:20]}),
        (Kind.RESULT, {"body": body[20:]}),
        (Kind.DONE, {"finish_reason": "stop"}),
    )
    first = CompletionChunks(JOB, wants_usage=True)
    assert first.entries(rows[:place]) == b""
    second = first.fork()
    data = second.entries(rows[place:])
    assert data == first.entries(rows[place:])
    *chunks, usage, done = chunks_of(data)
    assert [chunk["choices"] for chunk in chunks] == [[choice] for choice in choices]
    assert (usage["usage"], done, second.over) == ({"total_tokens": 3}, "[DONE]", True)
