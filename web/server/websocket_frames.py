"""The WebSocket frames that a server sends (RFC 6455 section 5.2): whole, unmasked, without extensions."""

from __future__ import annotations

PING = b"\x89\x00"
"""A ping without a payload."""
_REASON_BYTES = 123
_NO_STATUS = 1005


def text_frame(payload: bytes) -> bytes:
    """A whole text message; the payload is UTF-8."""
    size = len(payload)
    if size < 126:
        return b"\x81" + bytes((size,)) + payload
    if size < 65_536:
        return b"\x81\x7e" + size.to_bytes(2) + payload
    return b"\x81\x7f" + size.to_bytes(8) + payload


def pong(payload: bytes) -> bytes:
    """The answer to a ping with this payload of at most 125 bytes."""
    return b"\x8a" + bytes((len(payload),)) + payload


def close_frame(code: int, reason: str = "") -> bytes:
    """A close frame. The reason is cut to 123 bytes. 1005 means a frame without a code."""
    if code == _NO_STATUS:
        return b"\x88\x00"
    cut = reason.encode()[:_REASON_BYTES].decode(errors="ignore").encode()
    return b"\x88" + bytes((2 + len(cut),)) + code.to_bytes(2) + cut
