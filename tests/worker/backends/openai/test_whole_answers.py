"""Embeddings, pictures and completions at an OpenAI-compatible server that does what its script says."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from contextlib import closing
from typing import Any, cast

import orjson
import pytest

from spool.models.model import Model, Upstream
from tests.scripted_upstream import Call, Script, ScriptedUpstream, refuses
from worker.backends import BackendError, Finish, GenerationRequest, Piece, Result, Text, Unstreamed, Usage
from worker.backends.openai.backend import OpenAICompatible
from worker.backends.openai.backoff import Backoff
from worker.backends.openai.chunks import Garbage
from worker.backends.openai.whole_answers import packed, read_document, read_result, unpacked

MODEL = Model(name="small", backend="openai", upstream="gpu", upstream_model="org/small-1b")
USAGE = {"prompt_tokens": 3, "total_tokens": 3}


def embeds(*embeddings: Any, **more: Any) -> Script:
    """A script that answers with these embeddings."""
    data = [{"object": "embedding", "index": n, "embedding": value} for n, value in enumerate(embeddings)]
    return lambda call: call.json(
        200, {"object": "list", "model": "org/small-1b", "data": data, "usage": USAGE, **more}
    )


def run(script: Script, endpoint: str, **params: Any) -> tuple[list[Piece], Call]:
    """All pieces of the answer, and the upstream's view of the call."""
    with ScriptedUpstream(script) as upstream:
        quick = Backoff(first_s=0.05, most_s=0.2, patience_s=2.0)
        with closing(OpenAICompatible([Upstream(name="gpu", url=upstream.url)], backoff=quick)) as backend:
            request = GenerationRequest("j", MODEL, (), params, endpoint=endpoint)
            return list(backend.generate(request)), upstream.calls[-1]


def document_of(pieces: list[Piece]) -> dict[str, Any]:
    """The document in the one result among the pieces."""
    (found,) = [piece.body for piece in pieces if isinstance(piece, Result)]
    document: dict[str, Any] = orjson.loads(found)
    return document


class _InPieces:
    """A response that comes in pieces of 16 KiB."""

    def __init__(self, body: bytes) -> None:
        self.headers = {"content-type": "application/json"}
        self.most = 0
        """The most bytes in memory while it came."""
        self._body = body

    @property
    def stream(self) -> Iterator[bytes]:
        """Its pieces, the first ones without content."""
        yield from (b" \n", b"\t")
        for at in range(0, len(self._body), 16384):
            yield self._body[at : at + 16384]
        self.most = tracemalloc.get_traced_memory()[1]


def test_answer_in_many_pieces() -> None:
    """An answer that comes in many pieces is not copied for each of them."""
    response = _InPieces(b'{"text": "' + b"x" * 2**20 + b'"}')
    tracemalloc.start()
    try:
        assert len(read_document(cast(Any, response))["text"]) == 2**20
    finally:
        tracemalloc.stop()
    assert response.most < 1.5 * 2**20


def test_request_as_it_came() -> None:
    """The body goes to the endpoint as it came, with the upstream's name of the model; the answer has the callers'."""
    pieces, call = run(embeds([0.5]), "embeddings", input=["a"], dimensions=1, top="x", stream=True, model="other")
    assert (call.path, call.body) == (
        "/v1/embeddings",
        {"model": "org/small-1b", "input": ["a"], "dimensions": 1, "top": "x"},
    )
    assert document_of(pieces)["model"] == "small"
    assert [piece for piece in pieces if not isinstance(piece, Result)] == [Unstreamed(), Usage(3, 0), Finish("stop")]


@pytest.mark.parametrize("answered", [[0.5, -2.0], packed([[0.5, -2.0]])], ids=["numbers", "base64"])
@pytest.mark.parametrize("wanted", [None, "float", "base64"])
def test_format_of_embeddings(answered: Any, wanted: str | None) -> None:
    """Embeddings have the format that was asked for, also if the server ignores it."""
    asked = {"encoding_format": wanted} if wanted else {}
    pieces, call = run(embeds(answered), "embeddings", input="a", **asked)
    expected = packed([[0.5, -2.0]]) if wanted == "base64" else [0.5, -2.0]
    assert document_of(pieces)["data"][0]["embedding"] == expected
    assert call.body.get("encoding_format") == wanted
    assert unpacked(packed([[0.5, -2.0]])) == [0.5, -2.0]


def test_pictures() -> None:
    """Pictures come as the upstream answers them, and their tokens count."""
    answer = {"created": 5, "data": [{"b64_json": "AAAA"}], "usage": {"input_tokens": 2, "output_tokens": 9}}
    pieces, call = run(lambda call: call.json(200, answer), "images/generations", prompt="x", size="1x1")
    assert (call.path, call.body) == ("/v1/images/generations", {"model": "org/small-1b", "prompt": "x", "size": "1x1"})
    assert document_of(pieces) == answer
    assert Usage(2, 9) in pieces


def test_completion_streams() -> None:
    """One completion is asked for as a stream, and its texts are pieces."""

    def script(call: Call) -> None:
        call.begin()
        for text, reason in (("Once", None), (" upon", None), ("", "length")):
            call.event({"object": "text_completion", "choices": [{"text": text, "index": 0, "finish_reason": reason}]})
        call.event({"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}})
        call.send(b"data: [DONE]\n\n")

    pieces, call = run(script, "completions", prompt="a", suffix="z")
    assert [piece for piece in pieces if isinstance(piece, Text | Usage | Finish)] == [
        Text("Once"),
        Text(" upon"),
        Usage(1, 2),
        Finish("length"),
    ]
    options = {"stream": True, "stream_options": {"include_usage": True}}
    assert (call.path, call.body) == (
        "/v1/completions",
        {"model": "org/small-1b", "prompt": "a", "suffix": "z", **options},
    )


def test_several_completions_come_whole() -> None:
    """Several completions are asked for without a stream; the answer is the result."""
    choices = [{"text": text, "index": n, "logprobs": None, "finish_reason": "stop"} for n, text in enumerate("ab")]
    pieces, call = run(lambda call: call.json(200, {"choices": choices}), "completions", prompt="a", n=2)
    assert call.body == {"model": "org/small-1b", "prompt": "a", "n": 2, "stream": False}
    assert document_of(pieces) == {"choices": choices}


@pytest.mark.parametrize(
    ("script", "code"),
    [
        (refuses(400, "no such thing"), "upstream_rejected"),
        (refuses(404), "upstream_rejected"),
        (lambda call: call.json(200, {"error": {"message": "too long", "code": 400}}), "upstream_rejected"),
        (lambda call: call.json(200, []), "upstream_garbage"),
        (lambda call: call.json(200, {"data": {}}), "upstream_garbage"),
        (embeds("no base64"), "upstream_garbage"),
    ],
    ids=["400", "404", "error in a 200", "list", "no data", "no numbers"],
)
def test_wrong_answers(script: Script, code: str) -> None:
    """An upstream's error, or something else than embeddings, is the job's error."""
    with pytest.raises(BackendError) as caught:
        run(script, "embeddings", input="a")
    assert caught.value.code == code


@pytest.mark.parametrize(
    "choices",
    [
        None,
        [],
        {},
        ["a"],
        [{"message": "a"}],
        [{"message": {"tool_calls": {"a": 1}}}],
        [{"message": {"tool_calls": ["a"]}}],
    ],
    ids=repr,
)
def test_several_answers_of_another_shape(choices: Any) -> None:
    """Choices of which no stream can be made are the upstream's error, and not the stream's."""
    with pytest.raises(BackendError) as caught:
        run(lambda call: call.json(200, {"choices": choices}), "chat/completions", n=2)
    assert caught.value.code == "upstream_garbage"


def test_answer_that_breaks_off_is_asked_for_again() -> None:
    """Nothing was shown of a whole answer that breaks off, so it is asked for again."""

    def breaks(call: Call) -> None:
        call.begin(200, {"Content-Type": "application/json"})
        call.send(b'{"data"')
        call.drop()

    tries = [breaks, embeds([1.0])]
    pieces, _call = run(lambda call: tries.pop(0)(call), "embeddings", input="a")
    assert document_of(pieces)["data"][0]["embedding"] == [1.0]


@pytest.mark.parametrize("unit", [b"[],", b'{"":0},', b'"",'], ids=["arrays", "objects", "texts"])
def test_answer_of_many_values(unit: bytes) -> None:
    """An answer that would take many times its bytes is refused before it has arrived."""
    response = _InPieces(b'{"data": [' + unit * 1_000_000 + b"0]}")
    tracemalloc.start()
    try:
        with pytest.raises(Garbage, match="an answer with more than 500000 arrays, objects and texts"):
            read_document(cast(Any, response))
    finally:
        tracemalloc.stop()
    assert response.most == 0


def test_many_long_embeddings() -> None:
    """As many numbers as embeddings may have come through in both formats, and little is in memory for each."""
    one = [n / 7 for n in range(1536)]
    numbers = document_of(run(embeds(*[one] * 300), "embeddings", input="x")[0])
    assert [item["embedding"] for item in numbers["data"]] == [one] * 300
    texts = document_of(run(embeds(*[one] * 3), "embeddings", input="x", encoding_format="base64")[0])
    assert [item["embedding"] for item in texts["data"]] == [packed([one])] * 3


@pytest.mark.parametrize("tail", [b"1]", b"1,]", b'"' + b'\\"' * 100_000 + b"]", b"[]]", b"]"])
def test_numbers_beside_long_lists(tail: bytes) -> None:
    """Too many of them, or text that breaks off in a string, are refused before they are parsed."""
    response = _InPieces(b'{"data": [' + b"1,[]," * 400_000 + b"1," * 300_000 + tail + b"}")
    request = GenerationRequest("j", MODEL, (), {}, endpoint="embeddings")
    with pytest.raises(Garbage):
        list(read_result(cast(Any, response), request, lambda: None))


def test_endless_blanks_before_an_answer() -> None:
    """Blanks before the answer count as its bytes, though none is kept."""
    with pytest.raises(Garbage, match="more than 1000 bytes"):
        read_document(cast(Any, _InPieces(b" " * 20_000)), 1000)
