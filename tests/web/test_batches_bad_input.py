"""Batches that are wrong in one place: it is named, and nothing at all is accepted."""

from __future__ import annotations

from typing import Any

import httpx
import orjson
import pytest

from tests.stack import Stack
from tests.web.problem_shape import assert_problem, stored

JSONL = {"Content-Type": "application/x-ndjson"}
GOOD: dict[str, Any] = {"prompt": "x"}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", "body"),
        (b"{", "body"),
        (b"[{]", "body"),
        (b"[{}}", "body"),
        (b"[{}] []", "body"),
        (b"[" * 5000, "body"),
        (b'[{"prompt":"\xff"}]', "[0]"),
        (b'[{"prompt":"x"},]', "[1]"),
        (b'[{"prompt":"x"} {}]', "[0]"),
        (b"[" + b"[" * 300 + b"]" * 300 + b"]", "body"),
        (b"[" + b"[0," * 20_000, "body"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_batch_not_json(alice: httpx.Client, body: bytes, field: str) -> None:
    """A body that is no JSON array is refused, and so is an element that is no JSON."""
    assert_problem(alice.post("/batches", content=body, headers={"Content-Type": "application/json"}), 422, field)


@pytest.mark.parametrize("said", [{}, GOOD, "x", 7, None, True, [], [GOOD] * 21], ids=lambda value: repr(value)[:30])
def test_batch_not_an_array_of_some(alice: httpx.Client, said: Any) -> None:
    """A batch is an array with at least one submit and at most as many as are allowed."""
    response = alice.post("/batches", content=orjson.dumps(said), headers={"Content-Type": "application/json"})
    assert_problem(response, 422, "body")


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        (7, "[3]"),
        (None, "[3]"),
        ([GOOD], "[3]"),
        ({}, "[3]"),
        ({"prompt": ""}, "[3].prompt"),
        ({"prompt": "x", "stream": True}, "[3].stream"),
        ({"prompt": "x", "model": "gpt-99"}, "[3].model"),
        ({"prompt": "x", "params": {"tokens": -1}}, "[3].params.tokens"),
        ({"prompt": "x", "coalesce": {"ms": -1}}, "[3].coalesce.ms"),
        ({"prompt": "x" * 3000}, "[3].prompt"),
        ({"messages": [{"role": "king"}]}, "[3].messages[0].role"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_batch_with_one_bad_line(guarded: Stack, alice: httpx.Client, wrong: Any, field: str) -> None:
    """One submit that is wrong is named by its place, and none of the others is accepted."""
    before, listed = stored(guarded.redis.link), alice.get("/jobs").content
    items = [GOOD, GOOD, GOOD, wrong, GOOD]
    status = 413 if len(orjson.dumps(wrong)) > 2000 else 422
    assert_problem(alice.post("/batches", json=items), status, field)
    lines = b"\n".join(orjson.dumps(item) for item in items)
    assert_problem(alice.post("/batches", content=lines, headers=JSONL), status, field)
    assert stored(guarded.redis.link) == before
    assert alice.get("/jobs").content == listed


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"prompt":"x"}\n{"prompt"\n', "line 2"),
        (b'{"prompt":"x"}\n\n\nx\n', "line 4"),
        (b'{"prompt":"x"}{"prompt":"x"}', "line 1"),
        (b'{"prompt":"\xff"}', "line 1"),
        (b"", "body"),
        (b"\n\n \n", "body"),
        (b"\n".join([b'{"prompt":"x"}'] * 21), "body"),
        (b"\n" * 60_000, "body"),
        (b'{"prompt":"x"}' + b"\n" * 41, "body"),
        (b"[" * 300 + b"]" * 300, "line 1"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_batch_of_lines_that_is_wrong(guarded: Stack, alice: httpx.Client, body: bytes, field: str) -> None:
    """A line that is no JSON is named by its number."""
    before = stored(guarded.redis.link)
    assert_problem(alice.post("/batches", content=body, headers=JSONL), 422, field)
    assert stored(guarded.redis.link) == before


@pytest.mark.parametrize("media_type", ["application/x-ndjson", "application/jsonl", "application/x-jsonlines"])
@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n", b"\n\n"])
def test_batch_of_lines(alice: httpx.Client, media_type: str, end: bytes) -> None:
    """Lines come under any of their names, with or without an end."""
    body = b'{"prompt":"a"}\r\n{"prompt":"b"}' + end
    response = alice.post("/batches", content=body, headers={"Content-Type": media_type})
    assert (response.status_code, response.json()["total"]) == (202, 2)


@pytest.mark.parametrize("media_type", ["text/plain", "text/csv", "multipart/form-data", ""])
def test_batch_media_type_wrong(alice: httpx.Client, media_type: str) -> None:
    """A batch that is neither JSON nor lines of it is refused."""
    assert_problem(alice.post("/batches", content=b"[]", headers={"Content-Type": media_type}), 415)


@pytest.mark.parametrize("media_type", ["application/json", "application/x-ndjson"])
@pytest.mark.parametrize("in_chunks", [False, True])
def test_batch_too_large(guarded: Stack, alice: httpx.Client, media_type: str, in_chunks: bool) -> None:
    """A batch over the body's limit is refused as a whole, and never cut at a line's end."""
    before = stored(guarded.redis.link)
    line = b'{"prompt":"' + b"x" * (4096 - 14) + b'"}\n'
    assert len(line) == 4096
    body = line * 17
    content = iter([line] * 17) if in_chunks else body
    assert_problem(alice.post("/batches", content=content, headers={"Content-Type": media_type}), 413)
    assert stored(guarded.redis.link) == before


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ("limit=0", "limit"),
        ("limit=51", "limit"),
        ("limit=x", "limit"),
        ("cursor=-1", "cursor"),
        ("cursor=a", "cursor"),
    ],
)
def test_list_of_batches_bad_query(alice: httpx.Client, asked: str, field: str) -> None:
    """A size or a cursor that no page has is refused."""
    assert_problem(alice.get(f"/batches?{asked}"), 422, field)


def test_list_of_batches(alice: httpx.Client) -> None:
    """The newest batch is first, as its own call shows it, and the cursor leads to the ones before."""
    ids = [alice.post("/batches", json=[GOOD]).json()["id"] for _ in range(3)]
    first = alice.get("/batches?limit=2").json()
    assert [batch["id"] for batch in first["batches"]] == ids[:0:-1]
    assert first["batches"][0]["urls"] == alice.get(f"/batches/{ids[2]}").json()["urls"]
    second = alice.get(f"/batches?limit=2&cursor={first['cursor']}").json()
    assert second["batches"][0]["id"] == ids[0]
