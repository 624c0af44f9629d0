"""Idempotency: a caller's key for a submit, or what else tells that it repeats one, and the digest of its body."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any

import orjson
from flask import request
from pydantic import Field

from spool.jobs.repeats import Joins, Repeat
from web.contract import Parameter
from web.intake.repeats import asking, is_counted, joins_of
from web.problems import field_problem

_CHARACTERS = 255
_DIGITS = 32
IDEMPOTENCY_KEY = Parameter(
    "Idempotency-Key",
    Annotated[str, Field(min_length=1, max_length=_CHARACTERS)],
    "Makes a retry safe: the same key with the same body gives the same job, with another body 422. One owner's, as "
    "long as the job is stored.",
)


@dataclass(frozen=True, slots=True)
class Idempotency:
    """Digests of an Idempotency-Key and of the body sent with it; both empty without a key. ``repeat``: without a key,
    what tells that the request repeats another one."""

    key: str = ""
    body: str = ""
    repeat: Repeat | None = None


NO_KEY = Idempotency()


def idempotency_of(data: Any, joins: Joins | None = None) -> Idempotency:
    """The request's Idempotency-Key with this JSON data, independent of white space and the order of names; without
    one, its ``Repeat``, if the client counts its tries or the surface knows what the request ``joins``. Raises a 422
    ``Problem``."""
    key = _key()
    if key:
        return Idempotency(key, _digest([_canonical(data)]))
    joins = joins or joins_of(data)
    if joins is None:
        return NO_KEY
    return Idempotency(
        repeat=Repeat(_digest([request.path.encode(), b"\n", asking().encode(), _canonical(data)]), joins)
    )


def is_safe_to_repeat() -> bool:
    """Whether the same request again would get the same job."""
    return IDEMPOTENCY_KEY.name in request.headers or is_counted()


class LinesDigest:
    """The digest of lines, while they come."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def add(self, line: bytes | memoryview) -> None:
        """Add the next line, without its end."""
        self._digest.update(line)
        self._digest.update(b"\n")

    def __call__(self) -> str:
        """The digest of the lines so far."""
        return self._digest.hexdigest()[:_DIGITS]


def key_of_request() -> Idempotency:
    """The request's Idempotency-Key, without a digest of its body. Raises a 422 ``Problem``."""
    return Idempotency(_key())


def _key() -> str:
    """The digest of the Idempotency-Key header; empty without the header."""
    value = request.headers.get(IDEMPOTENCY_KEY.name)
    if value is None:
        return ""
    if not 1 <= len(value) <= _CHARACTERS or not value.isprintable():
        raise field_problem(IDEMPOTENCY_KEY.name, f"must be 1 to {_CHARACTERS} printable characters")
    return _digest([value.encode()])


def _canonical(data: Any) -> bytes:
    try:
        return orjson.dumps(data, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError as exc:
        # orjson reads 1024 levels but writes only 254.
        raise field_problem("body", "is nested too deeply") from exc


def _digest(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()[:_DIGITS]
