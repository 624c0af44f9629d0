"""The chunks of a UI message stream by number: the rest from any of them, and a finish at every end."""

from __future__ import annotations

from typing import Any

import pytest

from spool.jobs.entries import Kind, encode
from spool.jobs.log import Row
from tests.web.ai_sdk.test_ui_stream import DONE, JOB, Said, call, chunks, token
from web.ai_sdk.ui_stream import UiMessageStream
from web.ai_sdk.workflow_stream import WorkflowStream

LOG: list[Said] = [
    (Kind.STARTED, {"attempt": 1, "model": "demo"}),
    (Kind.REASONING, {"text": "Hm"}),
    token("a\n\n"),
    token("b"),
    call(0, '{"x":1}', "one"),
    (Kind.WAITING, {"reason": "rate_limited", "retry_at": None}),
    (Kind.USAGE, {"input_tokens": 1, "output_tokens": 2}),
]
ENDS: list[Said] = [
    DONE,
    (Kind.FAILED, {"error": {"code": "x", "message": "m"}}),
    (Kind.CANCELLED, {}),
    (Kind.RESTARTED, {"attempt": 2, "reason": "worker_lost"}),
]


def rows_of(*entries: Said) -> list[Row]:
    """The encoded entries."""
    return [(n, encode(n, kind, "", fields)) for n, (kind, fields) in enumerate(entries, 1)]


def sent(rows: list[Row], start_index: int, size: int) -> list[Any]:
    """The chunks of the stream from that number, fed so many rows at a time."""
    stream = WorkflowStream(JOB, {}, start_index=start_index)
    pieces = [stream.opening()]
    pieces += [stream.entries(rows[at : at + size]) for at in range(0, len(rows), size)]
    return chunks(b"".join(pieces))


@pytest.mark.parametrize("end", ENDS, ids=[kind.value for kind, _ in ENDS])
@pytest.mark.parametrize("size", [1, 3, 100])
def test_rest_from_any_chunk(end: Said, size: int) -> None:
    """The stream from chunk N is the whole stream without its first N chunks."""
    rows = rows_of(*LOG, end)
    whole = sent(rows, 0, 1)
    for start_index in range(len(whole)):
        assert sent(rows, start_index, size) == whole[start_index:]
    assert sent(rows, len(whole) + 5, size) == ["[DONE]"]


@pytest.mark.parametrize("end", ENDS, ids=[kind.value for kind, _ in ENDS])
def test_every_stream_has_a_finish(end: Said) -> None:
    """The last chunk is a finish, after an error or an abort too; before it, all is as for any other client."""
    rows = rows_of(*LOG, end)
    whole = sent(rows, 0, 1)
    assert [whole[-2]["type"], whole[-1]] == ["finish", "[DONE]"]
    usual = UiMessageStream(JOB, {}, again=False)
    expected = chunks(usual.opening() + usual.entries(rows))
    assert whole == expected if end is DONE else whole[:-2] == expected[:-1]


def test_page_without_the_known_chunks() -> None:
    """A page that other streams have translated is sent without the chunks that this one has."""
    rows = rows_of(*LOG)
    other, own = WorkflowStream(JOB, {}), WorkflowStream(JOB, {}, start_index=5)
    opening, page = other.opening(), other.entries(rows)
    own.number = other.number
    assert chunks(own.rest(page)) == chunks(opening + page)[5:]
