"""Bounded parsing of clients' JSON text.

Small text can become large data: 2 MB of ``[1,1,…]`` hold a million values, and each costs many times its two bytes
once it is checked. So values and levels are counted in the text before it is parsed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import accumulate
from typing import Any

import orjson

from web.time_slices import Slices

MAX_DEPTH = 200
"""Nested levels of arrays and objects. orjson writes at most 254, and Spool adds some around a caller's data."""
MAX_VALUES = 100_000
"""The most values and names in one JSON text."""

_BLANK = b" \t\n\r"
_WINDOW = 65_536
"""Bytes scanned between two checks of the time slice."""
_IN_STRING = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
_STRINGS = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_TO_OPEN_STRING = re.compile(rb'(?:[^"]++|"(?:[^"\\]++|\\.)*+")*+', re.DOTALL)
_TO_BRACKET = re.compile(rb'(?:[^"\[\]{}]++|"(?:[^"\\]++|\\.)*+")*+', re.DOTALL)
_TO_COMMA = re.compile(rb'(?:[^"\[\]{},]++|"(?:[^"\\]++|\\.)*+")*+', re.DOTALL)
_NO_BRACKET = bytes(set(range(256)) - set(b"[]{}"))
_STEP = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}


class Refused(ValueError):
    """The text is not JSON, or exceeds a bound."""


class TooLarge(Refused):
    """An element of an array has too many bytes; ``index`` is its position."""

    def __init__(self, index: int) -> None:
        super().__init__(f"element {index} is too large")
        self.index = index


def load(raw: bytes | memoryview) -> Any:
    """The parsed data. Raises ``Refused``."""
    _check_structure(bytes(raw))
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as exc:
        raise Refused(f"is not JSON: {exc}") from exc


def _check_structure(data: bytes) -> None:
    """Raise ``Refused`` for too many values or levels."""
    opened = data.count(b"[") + data.count(b"{")
    if opened <= MAX_DEPTH and opened + data.count(b",") + data.count(b":") < MAX_VALUES:
        # Within bounds even if none of these marks stands in a string.
        return
    depth, values = 0, 1
    for text in _outside_strings(data):
        values += text.count(b",") + text.count(b":") + text.count(b"[") + text.count(b"{")
        if values > MAX_VALUES:
            raise Refused(f"has more than {MAX_VALUES} values and names")
        *depths, depth = accumulate((_STEP[mark] for mark in text.translate(None, _NO_BRACKET)), initial=depth)
        if max(depths, default=depth) > MAX_DEPTH or depth > MAX_DEPTH:
            raise Refused(f"is nested deeper than {MAX_DEPTH} levels")


def _outside_strings(data: bytes) -> Iterator[bytes]:
    """The text without its strings, window by window. Pauses between time slices."""
    at, is_in_string, slices = 0, False, Slices()
    while at < len(data):
        slices.check()
        if is_in_string:
            at, is_in_string = _string_end(data, at, len(data), slices), False
            continue
        window = data[at : at + _WINDOW]
        match = _TO_OPEN_STRING.match(window)
        end = match.end() if match is not None else 0
        yield _STRINGS.sub(b"", window[:end])
        is_in_string = end < len(window)
        at += end + is_in_string


def _string_end(data: bytes, at: int, stop: int, slices: Slices) -> int:
    """The position after the quote that ends the string at ``at``; ``stop`` if no quote comes before it."""
    while at < stop:
        match = _IN_STRING.match(data, at, min(at + _WINDOW, stop))
        end = match.end() if match is not None else at
        if data[end : end + 1] == b'"':
            return end + 1
        if end == at:
            break
        at = end
        slices.check()
    return stop


def elements(raw: bytes, at_most: int, largest: int) -> list[memoryview]:
    """The text of each element of a JSON array; the elements themselves are not checked. Raises ``Refused`` for text
    that is not an array or has more than ``at_most`` elements, and ``TooLarge`` for an element of more than ``largest``
    bytes."""
    found: list[memoryview] = []
    view, depth, began = memoryview(raw), 0, 0
    slices = Slices()
    at = len(raw) - len(raw.lstrip(_BLANK))
    if raw[at : at + 1] != b"[":
        raise Refused("must be a JSON array")
    while at < len(raw):
        mark = raw[at]
        depth += _STEP.get(mark, 0)
        if depth == 0 or (depth == 1 and mark == ord(",")):
            found.append(view[began:at])
        if len(found) > at_most:
            raise Refused(f"has more than {at_most} elements")
        at += 1
        if depth == 0:
            return _closed(raw, at, found)
        if depth > MAX_DEPTH:
            raise Refused(f"is nested deeper than {MAX_DEPTH} levels")
        if depth == 1 and mark in b"[,":
            began = at
        stop = min(len(raw), began + largest + 1)
        at = _next_mark(raw, at, stop, _TO_COMMA if depth == 1 else _TO_BRACKET, slices)
        if at - began > largest:
            raise TooLarge(len(found))
    raise Refused("is not JSON: the array is not closed")


def _closed(raw: bytes, end: int, found: list[memoryview]) -> list[memoryview]:
    if raw[end - 1] != ord("]") or raw[end:].strip(_BLANK):
        raise Refused("is not JSON: the text does not end with the array")
    return found if len(found) > 1 or bytes(found[0]).strip(_BLANK) else []


def _next_mark(data: bytes, at: int, stop: int, to_mark: re.Pattern[bytes], slices: Slices) -> int:
    """The position of the next mark outside strings; ``stop`` if no mark comes before it."""
    while at < stop:
        slices.check()
        window = min(at + _WINDOW, stop)
        match = to_mark.match(data, at, window)
        end = match.end() if match is not None else at
        if data[end : end + 1] == b'"':
            # The string is longer than the window.
            end = _string_end(data, end + 1, stop, slices)
        elif end < window:
            return end
        at = end
    return stop
