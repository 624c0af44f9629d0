"""HTTP/1.1 framing: encodes requests, and decodes the heads of answers and the ends of their bodies. Does no I/O.

Follows RFC 9112, as strictly as ``h11``: input that an intermediary could read differently is an error. A bare LF ends
a line of the head (section 2.2), but not of the chunked coding (section 7.1). Divergence: trailers are dropped unread.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from httpx2 import LocalProtocolError, RemoteProtocolError

Fields = list[tuple[bytes, bytes]]

MAX_HEAD_BYTES = 100 * 1024
"""Limit for an answer's status line and fields, including those of interim answers before it."""
MAX_CHUNK_LINE_BYTES = 16 * 1024
"""Limit for a chunk's line with its extensions, and for all trailers."""

_TOKEN = rb"[-!#$%&'*+.^_`|~0-9A-Za-z]+"
# Possessive: a hostile line costs no more than its length.
_VALUE = rb"(?:[^\x00\s]++(?:[ \t]++[^\x00\s]++)*+)?"
_METHOD = re.compile(_TOKEN)
_TARGET = re.compile(rb"[\x21-\x7e]+")
_FIELD = re.compile(rb"(%b):[ \t]*+(%b)[ \t]*+" % (_TOKEN, _VALUE))
_STATUS_LINE = re.compile(rb"HTTP/1\.(\d) (\d{3})(?: ([^\x00\r\n]*))?")
_HEAD_END = re.compile(rb"\n\r?\n")
_FOLD = re.compile(rb"\r?\n[ \t]+")
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\r\n]*)?\r\n")
_LENGTH = re.compile(rb"\d{1,18}")


def encode_request(method: bytes, target: bytes, fields: Iterable[tuple[bytes, bytes]], body: bytes) -> bytes:
    """The whole request. ``fields`` are sent as given, and include a ``Content-Length`` for ``body`` or the chunked
    coding.

    Raises ``LocalProtocolError`` for an illegal request; the error never quotes a field's value.
    """
    lines = [b"%b %b HTTP/1.1" % (method, target)]
    if not _METHOD.fullmatch(method) or not _TARGET.fullmatch(target):
        raise LocalProtocolError("illegal request line")
    chunked = False
    for name, value in fields:
        line = b"%b: %b" % (name, value)
        if not _FIELD.fullmatch(line) or value != value.strip():
            raise LocalProtocolError("illegal header field")
        chunked = chunked or name.lower() == b"transfer-encoding"
        lines.append(line)
    if chunked and body:
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    elif chunked:
        body = b"0\r\n\r\n"
    return b"\r\n".join([*lines, b"", body])


@dataclass(frozen=True, slots=True)
class Head:
    """An answer's status line and fields, in their order and case. ``minor``: of HTTP/1.``minor``."""

    minor: int
    status: int
    reason: bytes
    fields: Fields

    def tokens(self, name: bytes) -> list[bytes]:
        """The members of a list field, in lower case."""
        values = [value for found, value in self.fields if found.lower() == name]
        return [token.strip().lower() for value in values for token in value.split(b",")]

    @property
    def keeps_connection(self) -> bool:
        """Whether another request may follow (section 9.3). An answer with two framings must not (section 6.1)."""
        two = self.tokens(b"transfer-encoding") and self.tokens(b"content-length")
        return self.minor >= 1 and b"close" not in self.tokens(b"connection") and not two

    def body(self, method: bytes) -> Body:
        """The body's framing (section 6.3). Raises ``RemoteProtocolError``."""
        if method == b"HEAD" or self.status in (204, 304):
            return Sized(0)
        if codings := self.tokens(b"transfer-encoding"):
            if codings != [b"chunked"]:
                raise RemoteProtocolError("unknown transfer coding")
            return Chunked()
        if lengths := set(self.tokens(b"content-length")):
            length = lengths.pop()
            if lengths or not _LENGTH.fullmatch(length):
                raise RemoteProtocolError("bad Content-Length")
            return Sized(int(length))
        return UntilClosed()


class HeadReader:
    """Reads until the final answer's head is complete; drops interim ones (1xx, RFC 9110, 15.2)."""

    def __init__(self) -> None:
        self._seen = bytearray()
        self._dropped = 0

    def feed(self, data: bytes) -> tuple[Head, bytes] | None:
        """The head and the bytes after it, or None if more is needed. ``b""`` means that the connection has ended.

        Raises ``RemoteProtocolError``, also for more than ``MAX_HEAD_BYTES``.
        """
        if not data:
            raise RemoteProtocolError("Server disconnected without sending a response.")
        look_from = max(0, len(self._seen) - 2)
        self._seen += data
        while (end := _HEAD_END.search(self._seen, look_from)) and self._dropped + end.end() <= MAX_HEAD_BYTES:
            head = _head(bytes(self._seen[: end.start()]))
            del self._seen[: end.end()]
            if head.status >= 200:
                return head, bytes(self._seen)
            if head.status == 101:
                raise RemoteProtocolError("switched protocols unasked")
            self._dropped += end.end()
            look_from = 0
        if end or self._dropped + len(self._seen) > MAX_HEAD_BYTES:
            raise RemoteProtocolError(f"more than {MAX_HEAD_BYTES} bytes of headers")
        return None


def _head(raw: bytes) -> Head:
    first, *lines = _FOLD.sub(b" ", raw).split(b"\n")
    status = _STATUS_LINE.fullmatch(first.removesuffix(b"\r"))
    found = [_FIELD.fullmatch(line.removesuffix(b"\r")) for line in lines]
    if status is None or None in found:
        raise RemoteProtocolError("illegal status line" if status is None else "illegal header line")
    fields = [(field[1], field[2]) for field in found if field]
    return Head(int(status[1]), int(status[2]), status[3] or b"", fields)


class Body(Protocol):
    """Detects a body's end. ``ended``: the body has ended; ``excess``: unsolicited bytes arrived after its end."""

    ended: bool
    excess: bool

    def feed(self, data: bytes) -> bytes:
        """The content in ``data``, possibly empty. ``b""`` means that the connection has ended. Not after ``ended``.

        Raises ``RemoteProtocolError``, also if the connection ends before the body."""
        ...


class Sized:
    """A body of ``Content-Length`` bytes (section 6.2)."""

    def __init__(self, length: int) -> None:
        self._left = length
        self.ended = not length
        self.excess = False

    def feed(self, data: bytes) -> bytes:
        """See ``Body``."""
        if not data:
            raise _cut_off()
        content = data[: self._left]
        self._left -= len(content)
        self.ended = not self._left
        self.excess = len(content) < len(data)
        return content


class UntilClosed:
    """A body that ends with the connection (section 6.3, 8)."""

    def __init__(self) -> None:
        self.ended = False
        self.excess = False

    def feed(self, data: bytes) -> bytes:
        """See ``Body``."""
        self.ended = not data
        return data


class Chunked:
    """A body in the chunked transfer coding (section 7.1), with extensions and trailers. Content is returned as it
    arrives, even a part of a chunk; several chunks in one read are one piece of content."""

    __slots__ = ("_held", "_left", "_line_end", "ended", "excess")

    def __init__(self) -> None:
        self._held = b""
        """Read but incomplete: part of a chunk's line or of the trailers."""
        self._left = 0
        """Bytes of this chunk's content that are still to come."""
        self._line_end = b""
        """The previous chunk's line end, if it is still to come before the next chunk's line."""
        self.ended = False
        self.excess = False

    def feed(self, data: bytes) -> bytes:
        """See ``Body``."""
        if not data:
            raise _cut_off()
        if self._held:
            data = self._held + data
            self._held = b""
        parts, at = [], 0
        while at < len(data):
            if not self._left and (at := self._next_chunk(data, at)) < 0:
                break
            part = data[at : at + self._left]
            parts.append(part)
            at += len(part)
            self._left -= len(part)
            if not self._left:
                self._line_end = b"\r\n"
                if data.startswith(b"\r\n", at):
                    self._line_end = b""
                    at += 2
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _next_chunk(self, data: bytes, at: int) -> int:
        """Offset in ``data`` of the content of the chunk whose line is at ``at``; -1 if there is none."""
        line = _CHUNK_LINE.match(data, at + len(self._line_end))
        if line is None or not data.startswith(self._line_end, at):
            self._hold(data[at:])
            return -1
        self._left = int(line[1], 16)
        if self._left:
            return line.end()
        self._end(data, at, line.end() - 2)
        return -1

    def _hold(self, line: bytes) -> None:
        """Keep an incomplete line. Raises ``RemoteProtocolError`` if it cannot become a chunk's line."""
        expected = self._line_end
        if line[: len(expected)] != expected[: len(line)] or b"\n" in line[len(expected) :]:
            raise RemoteProtocolError("illegal chunk header")
        if len(line) > MAX_CHUNK_LINE_BYTES:
            raise RemoteProtocolError(f"a chunk header of more than {MAX_CHUNK_LINE_BYTES} bytes")
        self._held = line

    def _end(self, data: bytes, at: int, line_end_at: int) -> None:
        """End the body, whose last chunk's line is at ``at``. The line is kept and reread until the trailers are
        complete."""
        end = data.find(b"\r\n\r\n", line_end_at)
        if end < 0:
            self._held = data[at:]
            if len(self._held) > MAX_CHUNK_LINE_BYTES:
                raise RemoteProtocolError(f"more than {MAX_CHUNK_LINE_BYTES} bytes of trailers")
            return
        self.ended = True
        self.excess = end + 4 < len(data)


def _cut_off() -> RemoteProtocolError:
    return RemoteProtocolError("the connection was closed before the body's end")
