"""The compressed input of a job that has ended: ``z``, its length in bytes, a line end, and the deflated JSON.

JSON never begins with this letter, so an input says itself whether it is compressed.
"""

from __future__ import annotations

import re
import zlib

HEAD_BYTES = 16
_SAVED_AT_LEAST = 64
_LEVEL = 6
_RAW_DEFLATE = -15
_HEAD = re.compile(rb"z([0-9]{1,12})\n")


def pack_input(raw: bytes) -> bytes | None:
    """The compressed input; None if it is compressed already, or hardly gets smaller."""
    if raw.startswith(b"z"):
        return None
    compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, _RAW_DEFLATE)
    packed = b"z%d\n%b%b" % (len(raw), compressor.compress(raw), compressor.flush())
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
