"""The pieces of an answer in an HTTP response, without a connection; the limits for bytes that hold none."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import httpx2
import orjson
import pytest

from worker.backends import Alive, Complete, Finish, Piece, Text
from worker.backends.openai.chunks import Answer, ErrorInStream, Garbage
from worker.backends.openai.errors import Unfinished
from worker.backends.openai.sse import EventTooLong
from worker.backends.openai.stream_pieces import MAX_SILENT_BYTES, read_pieces

STREAM = {"content-type": "text/event-stream; charset=utf-8"}
DONE = b"data: [DONE]\n\n"
ROLE = {"choices": [{"index": 0, "delta": {"role": "assistant"}, "finish_reason": None}]}


class Chunks(httpx2.SyncByteStream):
    """A response's body: these reads, and then an error, if there is one."""

    def __init__(self, chunks: Iterable[bytes], error: Exception | None = None) -> None:
        self._chunks = chunks
        self._error = error
        self.read = 0

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            self.read += len(chunk)
            yield chunk
        if self._error is not None:
            raise self._error


def event(document: dict[str, Any]) -> bytes:
    """A server-sent event."""
    return b"data: " + orjson.dumps(document) + b"\n\n"


def delta(text: str | None = None, finish_reason: str | None = None) -> bytes:
    """The event of one chunk of a chat completion."""
    content = {} if text is None else {"content": text}
    return event({"choices": [{"index": 0, "delta": content, "finish_reason": finish_reason}]})


def pieces(*chunks: bytes, error: Exception | None = None, headers: dict[str, str] = STREAM) -> list[Piece]:
    """The pieces of a response with this body."""
    response = httpx2.Response(200, headers=headers, stream=Chunks(chunks, error))
    return list(read_pieces(response, Answer(), lambda: None))


def test_answer_is_its_pieces() -> None:
    """Text comes as it is read, and the end has the reason."""
    found = pieces(delta("Hel"), delta("lo") + delta(finish_reason="stop"), DONE)
    assert [piece.text for piece in found if isinstance(piece, Text)] == ["Hel", "lo"]
    assert [piece.reason for piece in found if isinstance(piece, Finish)] == ["stop"]


def test_begin_is_called_at_the_first_piece() -> None:
    """Roles and comments begin no answer; the callback comes before its first piece, once."""
    said: list[object] = []
    stream = Chunks([b": hello\n\n", event(ROLE), delta("a"), delta("b"), delta(finish_reason="stop"), DONE])
    response = httpx2.Response(200, headers=STREAM, stream=stream)
    for piece in read_pieces(response, Answer(), partial(said.append, "begun")):
        if isinstance(piece, Text):
            said.append(piece)
    assert said == ["begun", Text("a"), Text("b")]


def test_completeness_is_announced_before_the_end() -> None:
    """An answer that has its finish reason is complete while usage and the end are still awaited."""
    found = pieces(delta("a"), delta(finish_reason="stop"), DONE)
    assert [type(piece) for piece in found] == [Text, Complete, Finish]


def test_comment_is_a_sign_of_life() -> None:
    """Comments are passed on as signs of life, at most one a second."""
    found = pieces(*[b": keep-alive\n\n"] * 50, delta("a"), delta(finish_reason="stop"), DONE)
    assert found[0] == Alive()
    assert Alive() not in found[1:3]


@pytest.mark.parametrize("chunks", [(), (delta("a"),), (b": only a comment\n\n",)], ids=["nothing", "text", "comment"])
def test_answer_without_an_end_is_unfinished(chunks: tuple[bytes, ...]) -> None:
    """A body that stops without a finish reason or [DONE] is an unfinished answer."""
    with pytest.raises(Unfinished):
        pieces(*chunks)


def test_connection_lost_after_the_end() -> None:
    """A connection that breaks after the finish reason cost only data such as the usage; before it, the answer."""
    lost = httpx2.ReadError("reset")
    assert Text("a") in pieces(delta("a"), delta(finish_reason="stop"), error=lost)
    with pytest.raises(httpx2.ReadError):
        pieces(delta("a"), error=lost)


@pytest.mark.parametrize(
    "silent",
    [b": " + b"x" * 10_000 + b"\n\n", event({**ROLE, "id": "x" * 10_000}), b"\n" * 10_000],
    ids=["comments", "roles", "empty lines"],
)
def test_bytes_without_a_piece_are_bounded(silent: bytes) -> None:
    """Comments, roles and empty lines count against the same limit, and reading stops there."""
    stream = Chunks(silent for _ in range(2 * MAX_SILENT_BYTES // len(silent)))
    with pytest.raises((Garbage, EventTooLong), match=f"more than {MAX_SILENT_BYTES} bytes"):
        list(read_pieces(httpx2.Response(200, headers=STREAM, stream=stream), Answer(), lambda: None))
    assert stream.read <= MAX_SILENT_BYTES + len(silent)


def test_piece_resets_the_limit() -> None:
    """The limit is for bytes between two pieces, not for the whole answer."""
    half = b": " + b"x" * (MAX_SILENT_BYTES // 2) + b"\n\n"
    found = pieces(*[half, delta("a")] * 3, delta(finish_reason="stop"), DONE)
    assert [piece for piece in found if isinstance(piece, Text)] == [Text("a")] * 3


def test_encoded_stream_is_refused() -> None:
    """A Content-Encoding that was not asked for could decode to any size."""
    with pytest.raises(Garbage, match="Content-Encoding"):
        pieces(delta("a"), DONE, headers={**STREAM, "content-encoding": "gzip"})


def test_error_with_status_200() -> None:
    """A JSON error instead of a stream is that error; any other type of content is named."""
    with pytest.raises(ErrorInStream, match="no room"):
        pieces(b'{"error": {"message": "no room"}}', headers={"content-type": "application/json"})
    with pytest.raises(Garbage, match="content type text/html"):
        pieces(b"<html>", headers={"content-type": "text/html"})


def test_error_with_status_200_is_bounded() -> None:
    """An endless JSON answer is not read to its end."""
    stream = Chunks(b"x" * 4096 for _ in range(1000))
    response = httpx2.Response(200, headers={"content-type": "application/json"}, stream=stream)
    with pytest.raises(Garbage):
        list(read_pieces(response, Answer(), lambda: None))
    assert stream.read <= 4096
