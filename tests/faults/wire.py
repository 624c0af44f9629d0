"""Just enough of HTTP/1.1, server-sent events and WebSocket frames to read by thousands, cheaply and strictly.

Bytes in, pieces out; no input or output of its own but ``read_head``. What a server may not send raises ``Malformed``.
"""

from __future__ import annotations

import asyncio
import base64
import os
from dataclasses import dataclass

TEXT, CLOSE, PING, PONG = 1, 8, 9, 10


class Malformed(Exception):
    """The server sent what the protocol does not allow."""


@dataclass(frozen=True, slots=True)
class Head:
    """An answer's status and headers, names in lower case."""

    status: int
    headers: dict[str, str]


def request_head(path: str, host: str, headers: dict[str, str]) -> bytes:
    """A GET request."""
    lines = [f"GET {path} HTTP/1.1", f"Host: {host}", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def upgrade_headers() -> dict[str, str]:
    """What asks for a WebSocket."""
    key = base64.b64encode(os.urandom(16)).decode()
    return {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": key,
    }


async def read_head(reader: asyncio.StreamReader) -> Head:
    """The head of an answer."""
    raw = await reader.readuntil(b"\r\n\r\n")
    first, *lines = raw[:-4].decode("latin-1").split("\r\n")
    parts = first.split(" ", 2)
    if len(parts) < 2 or not parts[0].startswith("HTTP/1.") or not parts[1].isdigit():
        raise Malformed(f"status line {first!r}")
    pairs = (line.partition(":") for line in lines)
    return Head(int(parts[1]), {name.strip().lower(): value.strip() for name, _, value in pairs})


class Body:
    """An answer's body, as its head says it comes: in chunks, by length, or until the connection closes."""

    def __init__(self, head: Head) -> None:
        self._chunked = head.headers.get("transfer-encoding", "").lower() == "chunked"
        length = head.headers.get("content-length")
        self._left = None if self._chunked or length is None else int(length)
        self._rest = b""
        self.whole = self._left == 0 or head.status in (204, 304)
        """Nothing comes after what was fed. Of a body without chunks and length only the close tells."""
        self.until_close = not self._chunked and self._left is None

    def feed(self, data: bytes) -> bytes:
        """What of the body is in ``data``."""
        if self._chunked:
            return self._feed_chunks(data)
        if self._left is not None:
            self._left -= len(data)
            self.whole = self._left <= 0
            if self._left < 0:
                raise Malformed("more than Content-Length")
        return data

    def _feed_chunks(self, data: bytes) -> bytes:
        rest, at, parts = self._rest + data, 0, []
        while not self.whole and (end := rest.find(b"\r\n", at)) >= 0:
            try:
                size = int(rest[at:end], 16)
            except ValueError:
                raise Malformed(f"chunk size {rest[at:end]!r}") from None
            stop = end + 2 + size
            if len(rest) < stop + 2:
                break
            if rest[stop : stop + 2] != b"\r\n":
                raise Malformed("a chunk is not as long as it says")
            parts.append(rest[end + 2 : stop])
            at, self.whole = stop + 2, size == 0
        self._rest = rest[at:]
        return b"".join(parts)


class Lines:
    """What is separated by ``end``: lines, or with a blank line the events of a stream."""

    def __init__(self, end: bytes) -> None:
        self._end = end
        self.rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The pieces that are whole now, without their ends."""
        *pieces, self.rest = (self.rest + data).split(self._end)
        return pieces


def event_fields(event: bytes) -> dict[bytes, bytes]:
    """The fields of one server-sent event; comments left out."""
    fields: dict[bytes, bytes] = {}
    for line in event.split(b"\n"):
        if line.startswith(b":"):
            continue
        name, colon, value = line.partition(b": ")
        if not colon or name not in (b"id", b"event", b"data", b"retry") or name in fields:
            raise Malformed(f"event line {line[:80]!r}")
        fields[name] = value
    return fields


class Frames:
    """The frames of a WebSocket server, RFC 6455 section 5.2. Spool sends each message in one frame."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """The frames that are whole now, as (opcode, payload)."""
        rest, at, frames = self._rest + data, 0, []
        while len(rest) - at >= 2:
            first, size, start = rest[at], rest[at + 1], at + 2
            opcode = first & 0x0F
            if first & 0xF0 != 0x80 or opcode not in (TEXT, CLOSE, PING, PONG) or size & 0x80:
                raise Malformed(f"frame {rest[at : at + 8]!r}")
            if size >= 126:
                width = 2 if size == 126 else 8
                if len(rest) < start + width:
                    break
                size, start = int.from_bytes(rest[start : start + width]), start + width
                if size > 64 * 1024 * 1024:
                    raise Malformed(f"a frame of {size} bytes")
            if len(rest) < start + size:
                break
            frames.append((opcode, rest[start : start + size]))
            at = start + size
        self._rest = rest[at:]
        return frames


def client_frame(opcode: int, payload: bytes) -> bytes:
    """One masked frame."""
    mask = os.urandom(4)
    size = len(payload)
    head = bytes((0x80 | opcode, 0x80 | size)) if size < 126 else bytes((0x80 | opcode, 0xFE)) + size.to_bytes(2)
    return head + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
