"""Long lists of numbers in an upstream's JSON text, such as embeddings: cut out before the text is parsed, and read in
pieces.

Millions of numbers are parsed, and written again, in tenths of a second, during which no other greenlet runs. So a long
list stays text: a placeholder has its place in the parsed document. Does no I/O.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator
from typing import Any

import orjson

_LONG_BYTES = 1024
"""A shorter list is left in the text."""
_PIECE_BYTES = 64 * 1024
_TOKEN = secrets.token_hex(8)
"""No upstream knows it, so no text of an answer is taken for a placeholder."""
_PLACEHOLDER = re.compile(rf"{_TOKEN}:([0-9]+)")
_WRITTEN = re.compile(rf'"{_TOKEN}:([0-9]+)"'.encode())
_STRING_OR_LIST = re.compile(
    rb'"(?:[^"\\]++|\\.)*+"|\[([^\[\]{}"]{%d,}+)\]' % _LONG_BYTES,
    re.DOTALL,
)


class NotNumbers(ValueError):
    """What stands between the brackets is no list of values."""


class NumberLists:
    """The long lists of one JSON text. ``pause`` is called again and again, so that other greenlets run."""

    def __init__(self, data: bytes, pause: Callable[[], object]) -> None:
        self._pause = pause
        self._lists: list[bytes] = []
        self.text = self._cut(data)
        """The text with placeholders."""

    def _cut(self, data: bytes) -> bytes:
        parts, at = list[bytes](), 0
        for number, found in enumerate(_STRING_OR_LIST.finditer(data)):
            if number % 256 == 0:
                self._pause()
            if found[1] is not None:
                parts += (data[at : found.start()], b'"%b:%d"' % (_TOKEN.encode(), len(self._lists)))
                self._lists.append(found[1])
                at = found.end()
                self._pause()
        return b"".join([*parts, data[at:]])

    def pieces(self, value: Any) -> Iterator[list[Any]] | None:
        """The values of the list whose place this is, some at a time; None if it is no placeholder. The iterator raises
        ``NotNumbers``."""
        found = _PLACEHOLDER.fullmatch(value) if isinstance(value, str) else None
        return None if found is None else self._pieces(self._lists[int(found[1])])

    def _pieces(self, text: bytes) -> Iterator[list[Any]]:
        at = 0
        while at <= len(text):
            comma = text.find(b",", at + _PIECE_BYTES)
            end = len(text) if comma < 0 else comma
            try:
                values = orjson.loads(b"[%b]" % text[at:end])
            except orjson.JSONDecodeError as exc:
                raise NotNumbers from exc
            # A list is long, so nothing stands there only after a comma too many, or between blanks alone.
            if not values:
                raise NotNumbers
            yield values
            self._pause()
            at = end + 1

    def restored(self, written: bytes) -> bytes:
        """JSON text in which each list stands in its place again. Raises ``NotNumbers``."""
        parts, at = list[bytes](), 0
        for found in _WRITTEN.finditer(written):
            text = self._lists[int(found[1])]
            for _values in self._pieces(text):
                pass
            parts += (written[at : found.start()], b"[", text, b"]")
            at = found.end()
        return b"".join([*parts, written[at:]])
