"""The demo's answers at other endpoints than chats: embeddings, pictures and several completions, all deterministic."""

from __future__ import annotations

import base64
import hashlib
import math
import random
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any

import gevent
import orjson

from worker.backends import BackendError, Finish, GenerationRequest, Piece, Result, Usage
from worker.backends.whole import CHAT, COMPLETIONS, EMBEDDINGS

DIMENSIONS = 256
_DIMENSIONS_AT_MOST = 4096
_INPUTS_AT_MOST = 2048
_NUMBERS_AT_MOST = 2**20
"""Numbers of all embeddings of one answer, which take 20 bytes each as JSON."""
_CHOICES_AT_MOST = 128
_PICTURES_AT_MOST = 10
_SIDE = 64
"""Pixels of a picture's side."""
_ITEMS_A_TURN = 16

Answer = Callable[[str, int], Iterator[str]]
"""The tokens of the demo's answer to a prompt, with a seed."""


def whole_answer(request: GenerationRequest, prompt: str, answer: Answer) -> Iterator[Piece]:
    """Yield the answer of an endpoint whose answer is one ``Result``. Raises ``BackendError`` for an invalid body."""
    if request.endpoint == EMBEDDINGS:
        document, used = _embeddings(request.params)
    elif request.endpoint == CHAT:
        document, used = _chats(request, prompt, answer)
    elif request.endpoint == COMPLETIONS:
        document, used = _completions(request.params, answer)
    else:
        document, used = _pictures(request.params)
    if request.endpoint != EMBEDDINGS:
        document = {"created": 0, **document}
    yield Result(orjson.dumps({**document, **_named(request)}).decode())
    yield used
    yield Finish("stop")


def _named(request: GenerationRequest) -> dict[str, Any]:
    if request.endpoint == CHAT:
        return {"id": f"chatcmpl-{request.job_id}", "model": request.model.name}
    if request.endpoint == COMPLETIONS:
        return {"id": f"cmpl-{request.job_id}", "model": request.model.name}
    return {"model": request.model.name} if request.endpoint == EMBEDDINGS else {}


def _embeddings(params: Mapping[str, Any]) -> tuple[dict[str, Any], Usage]:
    texts = _texts(params.get("input"), "input")
    size = _number(params, "dimensions", DIMENSIONS, _DIMENSIONS_AT_MOST)
    if len(texts) * size > _NUMBERS_AT_MOST:
        raise _invalid(f"{len(texts)} embeddings of {size} numbers are more than {_NUMBERS_AT_MOST} numbers")
    as_base64 = params.get("encoding_format") == "base64"
    data = []
    for index, text in enumerate(texts):
        if index % _ITEMS_A_TURN == _ITEMS_A_TURN - 1:
            gevent.sleep(0)
        numbers = _vector(text, size)
        embedding: Any = numbers
        if as_base64:
            embedding = base64.b64encode(struct.pack(f"<{size}f", *numbers)).decode()
        data.append({"object": "embedding", "index": index, "embedding": embedding})
    used = sum(len(text.split()) for text in texts)
    usage = {"prompt_tokens": used, "total_tokens": used}
    return {"object": "list", "data": data, "usage": usage}, Usage(used, 0)


def _vector(text: str, size: int) -> list[float]:
    """A unit vector: the same text gives the same one."""
    chance = random.Random(hashlib.sha256(text.encode()).digest())
    numbers = [chance.gauss(0, 1) for _ in range(size)]
    length = math.sqrt(sum(number * number for number in numbers))
    # As floats of 4 bytes, so that both formats give the same numbers.
    return list(struct.unpack(f"<{size}f", struct.pack(f"<{size}f", *(number / length for number in numbers))))


def _completions(params: Mapping[str, Any], answer: Answer) -> tuple[dict[str, Any], Usage]:
    prompts = _texts(params.get("prompt"), "prompt")
    count = _number(params, "n", 1, _CHOICES_AT_MOST)
    most, written = _number(params, "max_tokens", 16, 4096), 0
    choices: list[dict[str, Any]] = []
    if len(prompts) * count > _CHOICES_AT_MOST:
        raise _invalid(f"at most {_CHOICES_AT_MOST} completions at a time")
    for prompt in prompts:
        for seed in range(count):
            gevent.sleep(0)
            tokens = list(islice(answer(prompt, seed), most))
            written += len(tokens)
            choice = {"text": "".join(tokens), "index": len(choices), "logprobs": None, "finish_reason": "length"}
            choices.append(choice)
    read = sum(len(prompt.split()) for prompt in prompts)
    usage = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
    return {"object": "text_completion", "choices": choices, "usage": usage}, Usage(read, written)


def _chats(request: GenerationRequest, prompt: str, answer: Answer) -> tuple[dict[str, Any], Usage]:
    """As many answers as ``n`` says, without tools and formats."""
    limits = {"max_tokens": request.params.get("max_completion_tokens") or request.params.get("max_tokens")}
    params = {"prompt": prompt or " ", "n": request.params.get("n"), **limits}
    document, usage = _completions(params, answer)
    choices = [
        {
            "index": choice["index"],
            "message": {"role": "assistant", "content": choice["text"], "refusal": None},
            "logprobs": None,
            "finish_reason": choice["finish_reason"],
        }
        for choice in document["choices"]
    ]
    return {**document, "object": "chat.completion", "choices": choices}, usage


def _pictures(params: Mapping[str, Any]) -> tuple[dict[str, Any], Usage]:
    prompt = params.get("prompt")
    if not isinstance(prompt, str) or not prompt:
        raise _invalid("prompt must be text")
    count = _number(params, "n", 1, _PICTURES_AT_MOST)
    pictures = [base64.b64encode(picture(f"{number}\n{prompt}")).decode() for number in range(count)]
    read = len(prompt.split())
    usage = {"input_tokens": read, "output_tokens": count, "total_tokens": read + count}
    return {"data": [{"b64_json": data} for data in pictures], "usage": usage}, Usage(read, count)


def picture(text: str) -> bytes:
    """A small PNG of two colours: the same text gives the same one."""
    digest = hashlib.sha256(text.encode()).digest()
    colours, bits = (digest[:3], digest[3:6]), int.from_bytes(digest[8:16], "big")
    rows = []
    for y in range(_SIDE):
        # 8 × 8 squares; the first byte of a row is its filter.
        squares = [colours[bits >> (y // 8 * 8 + x) & 1] * (_SIDE // 8) for x in range(8)]
        rows.append(b"\0" + b"".join(squares))
    head = struct.pack(">IIBBBBB", _SIDE, _SIDE, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(b"".join(rows))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, data) for name, data in chunks)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _texts(value: Any, field: str) -> list[str]:
    """One text for each input: tokens are written as numbers."""
    if isinstance(value, list) and value and all(type(item) is int for item in value):
        value = [value]
    items = value if isinstance(value, list) else [value]
    if not 1 <= len(items) <= _INPUTS_AT_MOST:
        raise _invalid(f"{field} must have 1 to {_INPUTS_AT_MOST} items")
    if not all(isinstance(item, str | list) and item for item in items):
        raise _invalid(f"{field} must be text or a list of texts or of tokens, none of them empty")
    return [item if isinstance(item, str) else " ".join(map(str, item)) for item in items]


def _number(params: Mapping[str, Any], name: str, default: int, most: int) -> int:
    value = params.get(name)
    if value is None:
        return default
    if type(value) is not int or not 1 <= value <= most:
        raise _invalid(f"{name} must be a whole number from 1 to {most}")
    return value


def _invalid(message: str) -> BackendError:
    return BackendError("invalid_params", message, retryable=False)
