"""Contents in Redis: compressed blocks, each a string beside the file's record (see ``spool.keys``)."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from spool.errors import ContentLost
from spool.files.file import BLOCK_BYTES, StoredFile
from spool.files.records import Upload, block_key
from spool.redis.link import RedisLink

_LEVEL = 1
_PACKED, _PLAIN = b"z", b"p"


class RedisContents:
    """The contents in Redis. A block begins with a letter: ``z`` if it is compressed, otherwise ``p``."""

    name = "redis"

    def __init__(self, link: RedisLink) -> None:
        self._link = link

    def write(self, upload: Upload, blocks: Iterator[bytes]) -> None:
        """Store the blocks. ``upload.add`` does it in the same step as the count."""
        for block in blocks:
            packed = _PACKED + zlib.compress(block, _LEVEL)
            stored = packed if len(packed) < len(block) else _PLAIN + block
            upload.add(len(stored), stored)

    def read(self, file: StoredFile, start: int, stop: int) -> Iterator[bytes]:
        """The bytes from ``start`` to before ``stop``. Raises ``ContentLost``."""
        for number in range(start // BLOCK_BYTES, -(-stop // BLOCK_BYTES)):
            first = number * BLOCK_BYTES
            block = _unpacked(self._link.call("GET", block_key(file.id, number)))
            if len(block) != min(BLOCK_BYTES, file.size - first):
                raise ContentLost(file.id)
            yield block[max(0, start - first) : stop - first]

    def delete(self, file_id: str) -> None:
        """Does nothing: the blocks are deleted with the record."""


def _unpacked(stored: bytes | None) -> bytes:
    """A block's bytes; empty if it is missing or damaged."""
    if not stored or stored[:1] == _PLAIN:
        return (stored or b"")[1:]
    try:
        return zlib.decompressobj().decompress(stored[1:], BLOCK_BYTES)
    except zlib.error:
        return b""
