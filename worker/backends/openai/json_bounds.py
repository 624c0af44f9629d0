"""Bounds what the JSON text of an upstream makes in memory, before it is parsed. Does no I/O.

An empty array takes three bytes of text, and 64 bytes or more and some of the collector's time once it is parsed. So
values are counted in the text as it arrives, outside its strings.
"""

from __future__ import annotations

import re

MAX_PARTS = 500_000
"""Limit for arrays, objects, names and texts together. An answer of 5,000 tokens with 10 alternatives each has some
400,000."""
MAX_COMMAS = 1_000_000
"""Limit for commas, so for numbers: they are parsed within 50 ms."""
MAX_EMBEDDED = 4_000_000
"""The same for embeddings, whose numbers are not parsed at once: more than 2,048 embeddings of 1,536 numbers."""
UNCHECKED_BYTES = 64 * 1024
"""A text up to this size needs no check: it holds too little."""

_IN_STRING = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
_STRINGS = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)


class TooMuch(ValueError):
    """The text holds more values than a bound allows."""


class Bounds:
    """Counts the values of one JSON text, which may arrive in parts that end anywhere."""

    def __init__(self, max_commas: int = MAX_COMMAS) -> None:
        self._max_commas = max_commas
        self._parts = 0
        self._commas = 0
        self._is_in_string = False
        self._rest = b""
        """A backslash at the end of the last part, whose character has not arrived."""

    @property
    def is_in_string(self) -> bool:
        """Whether the text so far ends within a string."""
        return self._is_in_string

    def feed(self, data: bytes) -> None:
        """Count what is in ``data``. Raises ``TooMuch``."""
        data, at = self._rest + data, 0
        self._rest = b""
        if self._is_in_string:
            at = self._string_end(data, 0)
            if self._is_in_string:
                return
        outside, strings = _STRINGS.subn(b"", data[at:])
        quote = outside.find(b'"')
        if quote >= 0:
            # An open string: all before it is closed, so it is the last one.
            tail = outside[quote + 1 :]
            outside, strings = outside[:quote], strings + 1
            self._is_in_string = True
            self._string_end(tail, 0)
        self._parts += strings + outside.count(b"[") + outside.count(b"{")
        self._commas += outside.count(b",")
        if self._parts > MAX_PARTS or self._commas > self._max_commas:
            raise TooMuch(f"more than {MAX_PARTS} arrays, objects and texts, or {self._max_commas} numbers")

    def _string_end(self, data: bytes, at: int) -> int:
        """The position after the quote that ends the open string; the end of ``data`` if it stays open."""
        match = _IN_STRING.match(data, at)
        end = match.end() if match is not None else at
        if data[end : end + 1] == b'"':
            self._is_in_string = False
            return end + 1
        self._rest = data[end:]
        return len(data)


def check(data: bytes) -> None:
    """Raise ``TooMuch`` if the whole text holds more values than a bound allows."""
    if len(data) > UNCHECKED_BYTES:
        Bounds().feed(data)
