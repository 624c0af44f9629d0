"""The compressed input of a job that has ended: ``z``, its length in bytes, a line end, and the deflated JSON.

JSON never begins with this letter, so an input says itself whether it is compressed.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Generator
from typing import cast

HEAD_BYTES = 16
_SAVED_AT_LEAST = 64
_STEP_BYTES = 16 * 1024
_LEVEL = 6
_RAW_DEFLATE = -15
_HEAD = re.compile(rb"z([0-9]{1,12})\n")


def pack_input(raw: bytes) -> bytes | None:
    """The compressed input; None if it is compressed already, or hardly gets smaller."""
    steps = packing_steps(raw)
    while True:
        try:
            next(steps)
        except StopIteration as done:
            return cast("bytes | None", done.value)


def packing_steps(raw: bytes) -> Generator[None, None, bytes | None]:
    """``pack_input`` in steps of about a millisecond, between which other work may run."""
    if raw.startswith(b"z"):
        return None
    compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, _RAW_DEFLATE)
    parts = [b"z%d\n" % len(raw)]
    for at in range(0, len(raw), _STEP_BYTES):
        parts.append(compressor.compress(raw[at : at + _STEP_BYTES]))
        yield
    packed = b"".join([*parts, compressor.flush()])
    return packed if len(packed) + _SAVED_AT_LEAST <= len(raw) else None


def unpack_input(stored: bytes) -> bytes:
    """The input as it was submitted. Raises ``ValueError`` for a damaged one."""
    match = _HEAD.match(stored)
    if match is None:
        return stored
    try:
        return zlib.decompress(stored[match.end() :], _RAW_DEFLATE, int(match[1]) or 1)
    except zlib.error as exc:
        raise ValueError("the compressed input is damaged") from exc


def packed_size(head: bytes) -> int | None:
    """The length of the input before it was compressed, from its first bytes; None if it is not compressed."""
    match = _HEAD.match(head)
    return int(match[1]) if match else None
