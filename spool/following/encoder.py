"""A transport's format, as the parts that share encoded entries see it."""

from __future__ import annotations

from typing import Protocol


class Encoder(Protocol):
    """Turns an encoded entry into a transport's bytes. One object per format, so that it can be a cache's key."""

    def entry(self, entry_id: int, raw: bytes) -> bytes:
        """The bytes of one entry on this transport, complete in themselves."""
        ...
