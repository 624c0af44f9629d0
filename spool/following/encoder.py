"""The interface of a transport's format, for the caches of encoded entries."""

from __future__ import annotations

from typing import Protocol


class Encoder(Protocol):
    """Encodes a stored entry into a transport's bytes. There is one object per format, which is the key in caches."""

    def entry(self, entry_id: int, raw: bytes) -> bytes:
        """The complete bytes of one entry on this transport."""
        ...
