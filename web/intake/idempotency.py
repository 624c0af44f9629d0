"""Idempotency: a caller's key for a submit, and the digest of the body that it belongs to."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any

import orjson
from flask import request
from pydantic import Field

from web.contract import Parameter
from web.problems import field_problem

_CHARACTERS = 255
IDEMPOTENCY_KEY = Parameter(
    "Idempotency-Key",
    Annotated[str, Field(min_length=1, max_length=_CHARACTERS)],
    "Makes a retry safe: the same key with the same body gives the same job, with another body 422. One owner's, as "
    "long as the job is stored.",
)


@dataclass(frozen=True, slots=True)
class Idempotency:
    """Digests of an Idempotency-Key and of the body sent with it; both empty without a key."""

    key: str = ""
    body: str = ""


NO_KEY = Idempotency()


def idempotency_of(data: Any) -> Idempotency:
    """The request's Idempotency-Key with this JSON data, independent of white space and the order of names. Raises a
    422 ``Problem``."""
    key = _key()
    return Idempotency(key, _digest([orjson.dumps(data, option=orjson.OPT_SORT_KEYS)])) if key else NO_KEY


def idempotency_of_lines(lines: Iterable[memoryview]) -> Idempotency:
    """The request's Idempotency-Key with these lines. Raises a 422 ``Problem``."""
    key = _key()
    return Idempotency(key, _digest(part for line in lines for part in (line, b"\n"))) if key else NO_KEY


def _key() -> str:
    """The digest of the Idempotency-Key header; empty without the header."""
    value = request.headers.get(IDEMPOTENCY_KEY.name)
    if value is None:
        return ""
    if not 1 <= len(value) <= _CHARACTERS or not value.isprintable():
        raise field_problem(IDEMPOTENCY_KEY.name, f"must be 1 to {_CHARACTERS} printable characters")
    return _digest([value.encode()])


def _digest(parts: Iterable[bytes | memoryview]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()[:32]
