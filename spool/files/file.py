"""A stored file: its record, which is a Redis hash (see ``spool.keys``), and its id.

An id begins with the time of its creation in milliseconds, so that ids sort by age. It cannot be guessed (104 bits).
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from spool.errors import FileDamaged

BLOCK_BYTES = 256 * 1024
"""The size of each block of a file but the last. Compressing one takes about 3 ms, during which no greenlet runs."""
FILENAME_CHARACTERS = 255
_ID = re.compile(r"file-[0-9a-f]{11}[0-9a-f]{26}")


def new_file_id(created_ms: int) -> str:
    """A new file id."""
    return f"file-{created_ms:011x}{secrets.token_hex(13)}"


def is_file_id(value: str) -> bool:
    """Whether it has the form of a file id."""
    return _ID.fullmatch(value) is not None


def created_ms_of(file_id: str) -> int:
    """The time in a file id; 0 for another text."""
    return int(file_id[5:16], 16) if is_file_id(file_id) else 0


def first_id_of(created_ms: int) -> str:
    """The text at which the ids of this time begin, in the order of ids."""
    return f"file-{created_ms:011x}"


@dataclass(frozen=True, slots=True)
class Description:
    """What a client says about its file. ``ttl_s``: when it expires, in seconds from its creation."""

    filename: str
    purpose: str
    ttl_s: int


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A complete file. Times are in ms on Redis's clock; ``place`` is the name of the store that has the content."""

    id: str
    owner: str
    filename: str
    purpose: str
    size: int
    created_ms: int
    expires_ms: int
    place: str

    @classmethod
    def decode(cls, reply: Sequence[bytes]) -> StoredFile:
        """The file of a complete record, as HGETALL returns it. Raises ``FileDamaged``."""
        try:
            record = dict(zip((name.decode() for name in reply[::2]), reply[1::2], strict=True))
            return cls(
                id=record["id"].decode(),
                owner=record["owner"].decode(),
                filename=record["filename"].decode(),
                purpose=record["purpose"].decode(),
                size=int(record["bytes"]),
                created_ms=int(record["created_ms"]),
                expires_ms=int(record["expires_ms"]),
                place=record["place"].decode(),
            )
        except (KeyError, ValueError) as exc:
            raise FileDamaged("the record of a file", reply) from exc
