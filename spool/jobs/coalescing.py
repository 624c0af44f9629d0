"""Coalescing: how several pieces of a job's text are merged into one entry (the record's field ``coalesce``).

An entry costs about 90 bytes of Redis memory besides its text, and most tokens are shorter than ten bytes. Submit
writes the field, from the caller's or the operator's choice; the worker applies it. Without the field, every piece is
an entry of its own.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Self

import orjson

MS_AT_MOST = 10_000
CHARS = 1000
CHARS_AT_MOST = 8192
"""The hard limit on the length of an entry's text."""


@dataclass(frozen=True, slots=True)
class Coalescing:
    """When buffered text becomes an entry: ``ms`` milliseconds after its first piece, or at ``chars`` characters, or
    (with ``sentence_end``) at the end of a sentence."""

    ms: int
    chars: int = CHARS
    sentence_end: bool = False

    def encode(self) -> bytes:
        """The value as the record stores it."""
        return orjson.dumps(self.public())

    @classmethod
    def decode(cls, raw: str | None) -> Self | None:
        """The inverse of ``encode``; None for an empty or missing value. Fields of later versions are ignored. Raises
        ``KeyError``, ``TypeError`` or ``ValueError`` for an invalid value."""
        if not raw:
            return None
        stored = orjson.loads(raw)
        return cls(int(stored["ms"]), int(stored["chars"]), bool(stored["sentence_end"]))

    def public(self) -> dict[str, Any]:
        """The value as the native API shows it."""
        return asdict(self)
