"""Where the content of files is kept: the interface of a store, and blocks of bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from spool.files.file import BLOCK_BYTES, StoredFile
from spool.files.records import Upload


class Contents(Protocol):
    """One store of contents. Every call may raise ``StoreUnavailable``."""

    name: str
    """Its name in the records of its files."""

    def write(self, upload: Upload, blocks: Iterator[bytes]) -> None:
        """Store the blocks, each after ``upload.add`` has counted it. If an error is raised, ``delete`` follows."""
        ...

    def read(self, file: StoredFile, start: int, stop: int) -> Iterator[bytes]:
        """The bytes from ``start`` to before ``stop``, in blocks. Raises ``ContentLost``."""
        ...

    def delete(self, file_id: str) -> None:
        """Delete the content of a file or of an incomplete upload, unless Redis has it beside the record. Does nothing
        if there is none."""
        ...


def in_blocks(pieces: Iterable[bytes], note: Callable[[int], None]) -> Iterator[bytes]:
    """The same bytes in blocks of ``BLOCK_BYTES``, the last one smaller. ``note`` is called with the size of each."""
    gathered = bytearray()
    for piece in pieces:
        gathered += piece
        while len(gathered) >= BLOCK_BYTES:
            note(BLOCK_BYTES)
            yield bytes(gathered[:BLOCK_BYTES])
            del gathered[:BLOCK_BYTES]
    if gathered:
        note(len(gathered))
        yield bytes(gathered)
