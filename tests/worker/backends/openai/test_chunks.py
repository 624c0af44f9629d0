"""The chunks of chat completions, of the shape that nearly all have and of every other."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from worker.backends import File, Finish, Piece, Reasoning, Text, TextMark, ToolCall
from worker.backends.openai.chunks import Answer, ErrorInStream, Garbage

PLAIN = {"index": 0, "delta": {"content": "hi"}, "finish_reason": None}


def pieces(chunk: Any, answer: Answer | None = None) -> list[Piece]:
    """The pieces in one chunk."""
    return list((answer or Answer()).feed(orjson.dumps(chunk)))


@pytest.mark.parametrize(
    "choice",
    [
        PLAIN,
        {"delta": {"content": "hi"}},
        {"delta": {"role": "assistant", "content": "hi", "reasoning_content": None, "tool_calls": []}},
        {"delta": {"content": "hi", "refusal": "no"}},
    ],
)
def test_text_is_one_piece(choice: dict[str, Any]) -> None:
    """Whatever empty fields stand beside it."""
    answer = Answer()
    assert pieces({"id": "c", "choices": [choice], "usage": None, "error": None}, answer) == [Text("hi")]
    assert answer.began
    assert not answer.ended


@pytest.mark.parametrize(
    ("choice", "found"),
    [
        ({"delta": {"content": "hi", "reasoning": "hm"}}, [Reasoning("hm"), Text("hi")]),
        ({"delta": {"content": "hi", "tool_calls": [{"id": "c"}]}}, [Text("hi"), ToolCall(0, "c", None, "")]),
        ({"delta": {"content": None, "refusal": "hi"}}, [TextMark(refuses=True), Text("hi")]),
        (
            {"delta": {"content": "hi", "annotations": [{"type": "x"}]}},
            [Text("hi"), TextMark(annotations=[{"type": "x"}])],
        ),
        (
            {"delta": {"content": "hi", "images": [{"image_url": {"url": "data:image/png;base64,AA=="}}]}},
            [Text("hi"), File("image/png", b"\0")],
        ),
        ({"index": 1, "delta": {"content": "hi"}}, []),
        ({"delta": {"content": ""}}, []),
        ({"delta": None}, []),
    ],
)
def test_chunk_with_more_or_less_than_text_is_read_as_a_whole(choice: dict[str, Any], found: list[Piece]) -> None:
    """Nothing that stands beside a text is lost, and other choices are not mixed in."""
    answer = Answer()
    assert pieces({"choices": [choice]}, answer) == found
    assert answer.began is bool(found)


def test_text_beside_the_end_is_read_with_it() -> None:
    """Some servers finish with the last token."""
    answer = Answer()
    chunk = {"choices": [PLAIN | {"finish_reason": "length"}], "usage": {"prompt_tokens": 1, "completion_tokens": 2}}
    assert pieces(chunk, answer) == [Text("hi")]
    assert answer.ended
    assert [*answer.finish()][-1] == Finish("length")


@pytest.mark.parametrize(
    "chunk", [{"error": "no", "choices": [PLAIN]}, {"choices": [PLAIN | {"finish_reason": "abort"}]}]
)
def test_text_beside_an_error_does_not_hide_it(chunk: Any) -> None:
    """An error in a chunk is an error, whatever else the chunk says."""
    with pytest.raises(ErrorInStream):
        pieces(chunk)


@pytest.mark.parametrize(
    "chunk",
    [
        [],
        {"choices": [PLAIN, 7]},
        {"choices": [[PLAIN]]},
        {"choices": [{"delta": ["hi"]}]},
        {"choices": [{"delta": {"content": 7}}]},
        {"choices": [{"delta": {"content": ["hi"]}}]},
        {"choices": [PLAIN], "usage": 7},
        {"choices": [{"delta": {"content": "hi", "reasoning": 7}}]},
        {"choices": [{"delta": {"content": "hi", "tool_calls": [7]}}]},
        {"choices": [PLAIN | {"finish_reason": 7}]},
    ],
)
def test_chunk_of_the_wrong_types_is_garbage(chunk: Any) -> None:
    """Also where a text stands beside it."""
    with pytest.raises(Garbage):
        pieces(chunk)


def test_event_of_many_values() -> None:
    """An event that would take many times its bytes is refused before it is parsed."""
    with pytest.raises(Garbage, match="an event with more than 500000 arrays, objects and texts"):
        list(Answer().feed(b'{"choices": [' + b"[]," * 500_000 + b"0]}"))
