"""The demo's embeddings, pictures and completions."""

from __future__ import annotations

import base64
import math
import struct
import zlib
from typing import Any

import orjson
import pytest

from spool.models.model import DEMO
from worker.backends import BackendError, Finish, GenerationRequest, Piece, Result, Text, Usage
from worker.backends.demo.backend import Demo
from worker.backends.demo.whole_answers import DIMENSIONS, picture


def generate(endpoint: str, **params: Any) -> list[Piece]:
    """All pieces of the demo's answer."""
    return list(Demo().generate(GenerationRequest("j", DEMO, (), params, endpoint=endpoint)))


def result(endpoint: str, **params: Any) -> dict[str, Any]:
    """The document in the demo's one result."""
    first, usage, end = generate(endpoint, **params)
    assert isinstance(first, Result)
    assert isinstance(usage, Usage)
    assert end == Finish("stop")
    document: dict[str, Any] = orjson.loads(first.body)
    return document


def test_embeddings_are_deterministic_unit_vectors() -> None:
    """The same text has the same vector of length 1, another text another one, each under its index."""
    document = result("embeddings", input=["a", "b", "a"])
    vectors = [item["embedding"] for item in document["data"]]
    assert [item["index"] for item in document["data"]] == [0, 1, 2]
    assert vectors[0] == vectors[2] != vectors[1]
    assert {len(vector) for vector in vectors} == {DIMENSIONS}
    assert math.isclose(sum(number * number for number in vectors[0]), 1, abs_tol=1e-5)
    assert document["usage"] == {"prompt_tokens": 3, "total_tokens": 3}


def test_base64_has_the_same_numbers() -> None:
    """Both formats of an embedding have the same numbers; tokens are as good as texts."""
    numbers = result("embeddings", input=[[1, 2]], dimensions=8)["data"][0]["embedding"]
    packed = result("embeddings", input=[[1, 2]], dimensions=8, encoding_format="base64")["data"][0]["embedding"]
    assert list(struct.unpack("<8f", base64.b64decode(packed))) == numbers


def test_pictures_are_pngs() -> None:
    """Each picture of a prompt is another PNG, and the same each time."""
    data = [base64.b64decode(item["b64_json"]) for item in result("images/generations", prompt="x", n=2)["data"]]
    assert len(set(data)) == 2
    assert data[0] == picture("0\nx")
    assert data[0].startswith(b"\x89PNG\r\n\x1a\n")
    at = data[0].index(b"IDAT") + 4
    size = int.from_bytes(data[0][at - 8 : at - 4], "big")
    assert len(zlib.decompress(data[0][at : at + size])) == 64 * (1 + 3 * 64)


def test_completion_of_one_text_streams() -> None:
    """One completion comes in pieces; several come as one result with the same text first."""
    texts = [
        piece.text
        for piece in generate("completions", prompt="Hi", max_tokens=5, rate=0, first_token_s=0, top_p=1)
        if isinstance(piece, Text)
    ]
    choices = result("completions", prompt=["Hi", "Ho"], n=2, max_tokens=5)["choices"]
    assert len(texts) == 5
    assert choices[0]["text"] == "".join(texts)
    assert [choice["index"] for choice in choices] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("endpoint", "params"),
    [
        ("embeddings", {}),
        ("embeddings", {"input": []}),
        ("embeddings", {"input": ["a", {}]}),
        ("embeddings", {"input": "a", "dimensions": 100_000}),
        ("embeddings", {"input": [[1]] * 257, "dimensions": 4096}),
        ("images/generations", {"prompt": ""}),
        ("images/generations", {"prompt": "a", "n": 11}),
        ("completions", {"prompt": ["a"], "n": 129}),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_invalid_body(endpoint: str, params: dict[str, Any]) -> None:
    """An invalid body is the caller's error."""
    with pytest.raises(BackendError) as caught:
        generate(endpoint, **params)
    assert (caught.value.code, caught.value.retryable) == ("invalid_params", False)
