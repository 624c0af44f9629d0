"""A text that grows by small pieces, stored in about the memory of the joined text."""

from __future__ import annotations

_JOINED_AT = 512
"""A small string costs ten times its length, so pieces are joined in groups of this size."""


class GrowingText:
    """Text that grows. ``size`` is its length in characters."""

    __slots__ = ("_joined", "_new", "size")

    def __init__(self) -> None:
        self._joined: list[str] = []
        self._new: list[str] = []
        self.size = 0

    def add(self, text: str) -> None:
        """Append some text."""
        self._new.append(text)
        self.size += len(text)
        if len(self._new) >= _JOINED_AT:
            self._joined.append("".join(self._new))
            self._new.clear()

    def clear(self) -> None:
        """Remove all text."""
        self._joined.clear()
        self._new.clear()
        self.size = 0

    def __str__(self) -> str:
        """The whole text."""
        if len(self._joined) != 1 or self._new:
            self._joined = ["".join([*self._joined, *self._new])]
            self._new.clear()
        return self._joined[0]
