"""The interface of a transport's format, for the caches of encoded entries."""

from __future__ import annotations

from typing import Protocol


class Encoder(Protocol):
    """Encodes stored entries into a transport's bytes. There is one object per format, which is the key in caches."""

    def entry(self, entry_id: int, raw: bytes) -> bytes:
        """The bytes of one entry."""
        ...

    def piece(self, entries: bytes) -> bytes:
        """The joined bytes of one or more entries, framed for the connection that they are sent on; here unframed."""
        return entries
