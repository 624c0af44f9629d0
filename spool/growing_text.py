"""A text that grows by small pieces, stored in about the memory of the joined text."""

from __future__ import annotations

from typing import Self

_JOINED_AT = 512
"""A small string costs ten times its length, so pieces are joined in groups of this size."""

_Joined = tuple["_Joined | None", str]
"""Joined pieces, behind those before them. Copies of a text share them."""


class GrowingText:
    """Text that grows. ``size`` is its length in characters."""

    __slots__ = ("_joined", "_new", "size")

    def __init__(self) -> None:
        self._joined: _Joined | None = None
        self._new: list[str] = []
        self.size = 0

    def add(self, text: str) -> None:
        """Append some text."""
        self._new.append(text)
        self.size += len(text)
        if len(self._new) >= _JOINED_AT:
            self._join()

    def clear(self) -> None:
        """Remove all text."""
        self._joined = None
        self._new.clear()
        self.size = 0

    def fork(self) -> Self:
        """A copy that grows by itself. It shares the text so far, so it costs the same for a text of any length."""
        self._join()
        copy = type(self)()
        copy._joined, copy.size = self._joined, self.size
        return copy

    def __str__(self) -> str:
        """The whole text."""
        self._join()
        if self._joined is None:
            return ""
        before, last = self._joined
        if before is not None:
            pieces = [last]
            while before is not None:
                before, piece = before
                pieces.append(piece)
            self._joined = None, "".join(reversed(pieces))
        return self._joined[1]

    def _join(self) -> None:
        if self._new:
            self._joined = self._joined, "".join(self._new)
            self._new.clear()
