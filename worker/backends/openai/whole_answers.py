"""Reads the whole answer of an endpoint that does not stream, such as embeddings or images."""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, cast

import gevent
import httpx2
import orjson

from worker.backends import Finish, GenerationRequest, Piece, Result, Usage
from worker.backends.openai.chunks import Answer, Garbage, error_of
from worker.backends.openai.json_bounds import MAX_COMMAS, MAX_EMBEDDED, Bounds, TooMuch
from worker.backends.openai.number_lists import NotNumbers, NumberLists
from worker.backends.whole import CHAT, COMPLETIONS, EMBEDDINGS

MAX_BYTES = 64 * 1024 * 1024
"""Read limit for a whole answer. ``SPOOL_MAX_OUTPUT_BYTES`` limits what of it a job may keep."""
_FLOAT_BYTES = 4
_ITEMS_A_TURN = 16


def read_result(response: httpx2.Response, request: GenerationRequest, on_begun: Callable[[], None]) -> Iterator[Piece]:
    """Yield the answer in ``response``, its usage and the end. The answer names the model as its callers do, and its
    embeddings have the format that the request asks for. Raises ``Garbage``, ``ErrorInStream`` and ``httpx2``'s read
    errors."""
    if request.endpoint == EMBEDDINGS:
        document, lists = _read_embeddings(response, to_base64=request.params.get("encoding_format") == "base64")
    else:
        document, lists = read_document(response), None
    if request.endpoint in (CHAT, COMPLETIONS):
        _check_choices(document, is_chat=request.endpoint == CHAT)
    if "model" in document:
        document["model"] = request.model.name
    if request.endpoint == CHAT:
        document["id"] = f"chatcmpl-{request.job_id}"
    try:
        written = orjson.dumps(document)
        body = (lists.restored(written) if lists is not None else written).decode()
    except NotNumbers as exc:
        raise Garbage("an embedding is no list of numbers") from exc
    except orjson.JSONEncodeError as exc:
        # orjson reads deeper nesting than it writes.
        raise Garbage("the answer is nested too deeply") from exc
    on_begun()
    yield Result(body)
    usage = _usage(document.get("usage"))
    if usage is not None:
        yield usage
    yield Finish("stop")


def read_unstreamed(response: httpx2.Response, answer: Answer, on_begun: Callable[[], None]) -> Iterator[Piece]:
    """Yield all pieces of the completion in ``response``, of a server that does not stream. Raises as ``read_result``
    does."""
    yield from pieces_of(read_document(response), answer, on_begun)


def pieces_of(document: dict[str, Any], answer: Answer, on_begun: Callable[[], None]) -> Iterator[Piece]:
    """Yield all pieces of a whole completion: as if it were one chunk."""
    choices = document.get("choices")
    if not isinstance(choices, list) or not all(isinstance(choice, dict) for choice in choices) or not choices:
        raise Garbage("a completion without choices")
    chunk = {**document, "choices": [{**choice, "delta": choice.get("message")} for choice in choices]}
    on_begun()
    yield from answer.feed_chunk(chunk)
    answer.done = True
    yield from answer.finish()


def read_document(response: httpx2.Response, at_most: int = MAX_BYTES) -> dict[str, Any]:
    """The JSON object in ``response``, of ``at_most`` bytes. Raises as ``read_result`` does."""
    return _parsed(_body_of(response, at_most, Bounds()))


def _read_embeddings(response: httpx2.Response, *, to_base64: bool) -> tuple[dict[str, Any], NumberLists]:
    """The object in ``response``, with embeddings in this format, and its long lists of numbers, of which it has
    placeholders."""
    bounds = Bounds(MAX_EMBEDDED)
    body = bytes(_body_of(response, MAX_BYTES, bounds))
    if bounds.is_in_string:
        # Each quote in it would be taken for the begin of another string, whose end is looked for.
        raise Garbage("the answer is not valid JSON")
    lists = NumberLists(body, lambda: gevent.sleep(0))
    if lists.text.count(b",") > MAX_COMMAS:
        raise Garbage(f"an answer with more than {MAX_COMMAS} numbers outside of long lists")
    document = _parsed(lists.text)
    _convert(document, lists, to_base64=to_base64)
    return document, lists


def _body_of(response: httpx2.Response, at_most: int, bounds: Bounds) -> bytearray:
    if response.headers.get("content-encoding", "identity").lower() not in ("identity", ""):
        # The request excludes encodings; and an encoded kilobyte may decode to a megabyte.
        raise Garbage("the answer has a Content-Encoding")
    body, size = bytearray(), 0
    for chunk in cast(Iterable[bytes], response.stream):
        size += len(chunk)
        body += chunk if body else chunk.lstrip()
        if body and not body.startswith(b"{"):
            # An endless answer that is no object is not read to its limit.
            break
        if size > at_most:
            raise Garbage(f"an answer of more than {at_most} bytes")
        try:
            bounds.feed(chunk)
        except TooMuch as exc:
            raise Garbage(f"an answer with {exc}") from exc
    return body


def _parsed(body: bytes | bytearray) -> dict[str, Any]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as exc:
        raise Garbage("the answer is not valid JSON") from exc
    if not isinstance(document, dict):
        raise Garbage(f"{type(document).__name__} instead of an object")
    if document.get("error"):
        raise error_of(document["error"])
    return document


def _check_choices(document: Mapping[str, Any], *, is_chat: bool) -> None:
    """Raises ``Garbage`` for choices of which a stream cannot make its pieces."""
    choices = document.get("choices")
    if not isinstance(choices, list) or not choices or not all(isinstance(choice, dict) for choice in choices):
        raise Garbage("an answer without choices")
    messages = [choice.get("message") for choice in choices] if is_chat else []
    for message in messages:
        calls = (message.get("tool_calls") or []) if isinstance(message, dict) else None
        if not isinstance(calls, list) or not all(isinstance(call, dict) for call in calls):
            raise Garbage("a choice without a message")


def _usage(usage: Any) -> Usage | None:
    """The tokens, under the names of chat completions or of images."""
    if not isinstance(usage, Mapping):
        return None
    read, written = _count(usage, "prompt_tokens", "input_tokens"), _count(usage, "completion_tokens", "output_tokens")
    return None if read is None else Usage(input_tokens=read, output_tokens=written or 0)


def _count(usage: Mapping[str, Any], *names: str) -> int | None:
    return next((usage[name] for name in names if type(usage.get(name)) is int), None)


def _convert(document: Mapping[str, Any], lists: NumberLists, *, to_base64: bool) -> None:
    """Change embeddings to the requested format in place, because some servers ignore it, and the SDKs do not. Long
    ones stay in ``lists``, unless they become base64."""
    items = document.get("data")
    if not isinstance(items, list):
        raise Garbage("embeddings without a list of data")
    for number, item in enumerate(items):
        if number % _ITEMS_A_TURN == _ITEMS_A_TURN - 1:
            gevent.sleep(0)
        embedding = item.get("embedding") if isinstance(item, dict) else None
        try:
            pieces = [embedding] if isinstance(embedding, list) else lists.pieces(embedding)
            if pieces is not None:
                if to_base64:
                    item["embedding"] = packed(pieces)
            elif not to_base64 and isinstance(embedding, str):
                item["embedding"] = unpacked(embedding)
        except (struct.error, OverflowError, binascii.Error, ValueError) as exc:
            raise Garbage("an embedding is no list of numbers") from exc


def packed(pieces: Iterable[list[float]]) -> str:
    """The numbers of all pieces as base64 of little-endian floats of 4 bytes. Raises ``struct.error``,
    ``OverflowError``, and as ``pieces`` does."""
    return base64.b64encode(b"".join(struct.pack(f"<{len(piece)}f", *piece) for piece in pieces)).decode()


def unpacked(embedding: str) -> list[float]:
    """The inverse of ``packed``. Raises ``binascii.Error`` and ``struct.error``."""
    raw = base64.b64decode(embedding, validate=True)
    return list(struct.unpack(f"<{len(raw) // _FLOAT_BYTES}f", raw))
