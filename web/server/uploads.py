"""The bodies that a process is receiving: how much of its memory they hold, and which one is given up for it."""

from __future__ import annotations

from typing import Protocol


class Upload(Protocol):
    """A body that is being received."""

    def give_up(self) -> None:
        """Receive no more of it."""
        ...


class Uploads:
    """At most ``limit`` bytes in bodies that are not whole. Beyond it the oldest of them is given up: a body of a
    client that means it arrives within moments, and many that arrive slowly fill the memory."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0
        self._sizes: dict[Upload, int] = {}

    def begin(self, upload: Upload) -> None:
        """It is being received."""
        self._sizes[upload] = 0

    def grow(self, upload: Upload, size: int) -> None:
        """So many bytes of it have come."""
        if upload not in self._sizes:
            return
        self._sizes[upload] += size
        self.held += size
        while self.held > self.limit:
            oldest = next(iter(self._sizes))
            self.end(oldest)
            oldest.give_up()

    def end(self, upload: Upload) -> None:
        """It is received no more, for whatever reason."""
        self.held -= self._sizes.pop(upload, 0)
