"""Coalescing: several pieces of a job's text become one entry. What a job's record says of it (field ``coalesce``).

An entry costs some 90 bytes of Redis's memory beside its text, and most tokens are shorter than ten. Written by
submit, from what the caller or the operator wants; obeyed by the worker. A record without it means that every piece is
an entry of its own.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Self

import orjson

MS_AT_MOST = 10_000
CHARS = 1000
CHARS_AT_MOST = 8192
"""Longer than that no entry gets in any case."""


@dataclass(frozen=True, slots=True)
class Coalescing:
    """Text is held back until ``ms`` milliseconds have passed since its first piece, or it has ``chars`` characters, or
    (with ``sentence_end``) a sentence has ended."""

    ms: int
    chars: int = CHARS
    sentence_end: bool = False

    def encode(self) -> bytes:
        """As the record has it."""
        return orjson.dumps(self.public())

    @classmethod
    def decode(cls, raw: str | None) -> Self | None:
        """The opposite of ``encode``; None where the record has none. A field that a later version adds is ignored.
        Raises ``KeyError``, ``TypeError`` or ``ValueError`` for anything else."""
        if not raw:
            return None
        said = orjson.loads(raw)
        return cls(int(said["ms"]), int(said["chars"]), bool(said["sentence_end"]))

    def public(self) -> dict[str, Any]:
        """As the native API shows it."""
        return asdict(self)
