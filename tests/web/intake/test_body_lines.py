"""The lines of a body, however its blocks are cut, and of a gzip body."""

from __future__ import annotations

import gzip
import zlib

import httpx
import orjson
import pytest
from werkzeug.exceptions import RequestEntityTooLarge

from tests.stack import Stack
from tests.web.problem_shape import assert_problem, stored
from web.intake.body_lines import inflated, numbered_lines
from web.problems import Problem

TEXT = b"first\n\nthird is long\r\n{}\nlast"
JSONL = {"Content-Type": "application/x-ndjson"}
GZIP = {"Content-Encoding": "gzip"}
LINES = b"\n".join(orjson.dumps({"prompt": f"{number}"}) for number in range(5))


@pytest.mark.parametrize("size", [1, 3, 7, 100])
def test_lines_have_their_numbers(size: int) -> None:
    """Blank lines count; a line that is too large has no text, and the next one does."""
    blocks = [TEXT[at : at + size] for at in range(0, len(TEXT), size)]
    expected = [(1, b"first"), (2, b""), (3, None), (4, b"{}"), (5, b"last")]
    assert list(numbered_lines(blocks, 6)) == expected


def test_line_end_at_the_end_is_no_line() -> None:
    """A file with a line end has as many lines as one without."""
    assert list(numbered_lines([b"a\n", b"b\n"], 9)) == [(1, b"a"), (2, b"b")]
    assert list(numbered_lines([], 9)) == []


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_gzip_of_several_members(size: int) -> None:
    """Members follow one another, however the blocks are cut."""
    packed = gzip.compress(TEXT) + gzip.compress(b"") + gzip.compress(TEXT)
    blocks = [packed[at : at + size] for at in range(0, len(packed), size)]
    assert b"".join(inflated(blocks, 1000)) == TEXT + TEXT


def test_gzip_is_inflated_in_small_pieces_up_to_its_limit() -> None:
    """A piece is small however much a block holds, and nothing is inflated far beyond the limit."""
    sizes = []

    def read() -> None:
        for piece in inflated([gzip.compress(bytes(50_000_000))], 1_000_000):
            sizes.append(len(piece))

    with pytest.raises(RequestEntityTooLarge):
        read()
    assert max(sizes) <= 65_536
    assert sum(sizes) <= 1_000_000


@pytest.mark.parametrize(
    "body",
    [b"{}", gzip.compress(TEXT)[:-1], gzip.compress(TEXT) + b"x", zlib.compress(TEXT), gzip.compress(TEXT)[:5]],
    ids=["no gzip", "cut", "something behind", "zlib", "half a head"],
)
def test_gzip_that_is_damaged(body: bytes) -> None:
    """Other data, and data that ends too early, is a 400."""
    with pytest.raises(Problem) as caught:
        list(inflated([body], 1000))
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("media_type", "body"),
    [("application/x-ndjson", LINES), ("application/json", b"[" + LINES.replace(b"\n", b",") + b"]")],
)
def test_batch_in_gzip(alice: httpx.Client, media_type: str, body: bytes) -> None:
    """Lines and an array may be gzip; the Idempotency-Key stands for the content, not for its compression."""
    headers = {"Content-Type": media_type, "Idempotency-Key": f"gzip {media_type}"}
    answers = [
        alice.post("/batches", content=content, headers={**headers, **more})
        for content, more in ((gzip.compress(body), GZIP), (gzip.compress(body, 1), GZIP), (body, {}))
    ]
    assert [answer.status_code for answer in answers] == [202, 200, 200]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert answers[0].json()["total"] == 5


def test_array_in_gzip_over_the_limit_of_bodies(guarded: Stack, alice: httpx.Client) -> None:
    """An array is held as a whole, so its limit is that of other bodies, and is that of the inflated text."""
    before = stored(guarded.redis.link)
    packed = gzip.compress(b"[" + b" " * 70_000 + LINES.replace(b"\n", b",") + b"]")
    assert_problem(alice.post("/batches", content=packed, headers={"Content-Type": "application/json", **GZIP}), 413)
    assert stored(guarded.redis.link) == before


def test_lines_over_the_limit_of_bodies(alice: httpx.Client) -> None:
    """Lines are stored while they arrive, so together they may be larger than another body."""
    body = b"\n".join(orjson.dumps({"prompt": "x", "metadata": {"pad": "y" * 400}}) + b" " * 8000 for _ in range(20))
    assert len(body) > 100_000
    for content in (body, iter([body[:50_000], body[50_000:]])):
        assert alice.post("/batches", content=content, headers=JSONL).json()["total"] == 20


def test_line_that_is_too_large_is_skipped(alice: httpx.Client) -> None:
    """With ``on_bad_line=skip``, a line over the limit of a job is an error of its own, and the others run."""
    body = LINES + b"\n" + b'{"prompt":"' + b"x" * 70_000 + b'"}\n'
    assert_problem(alice.post("/batches", content=body, headers=JSONL), 413, "line 6")
    document = alice.post("/batches?on_bad_line=fail", content=body, headers=JSONL).json()
    assert [(error["line"], error["code"]) for error in document["errors"]] == [(6, "invalid_request")]
    assert alice.post("/batches?on_bad_line=skip", content=body, headers=JSONL).json()["total"] == 6


@pytest.mark.parametrize("coding", ["br", "deflate", "gzip, gzip"])
def test_other_codings_are_refused(alice: httpx.Client, coding: str) -> None:
    """The answer names the codings that are accepted."""
    answer = alice.post("/batches", content=LINES, headers={**JSONL, "Content-Encoding": coding})
    assert_problem(answer, 415)
    assert answer.headers["Accept-Encoding"] == "gzip, identity"
