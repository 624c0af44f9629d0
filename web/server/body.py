"""Request bodies as ``wsgi.input``, read within limits of time and size, while other greenlets run.

Nothing is read before the application reads, and ``100 Continue`` is sent only then. The unread rest decides whether
the connection can carry another request.
"""

from __future__ import annotations

import io
import re
import time
from collections.abc import Callable
from typing import Any

from gunicorn.http.errors import (
    ChunkMissingTerminator,
    InvalidChunkSize,
    LimitRequestHeaders,
    NoMoreData,
    ParseException,
)

from spool.deadline import Deadline
from web.limits.uploads import Uploads
from web.problems import Problem
from web.server.source import Source, TooSlow

MalformedBody = ParseException
"""What ``wsgi.input`` raises for a body that is not HTTP/1.1."""
DRAIN_BYTES = 64 * 1024
"""The largest rest of an unread body that is drained. Beyond it, the connection closes."""
DRAIN_S = 2.0
_LINE_BYTES = 256
_TRAILER_BYTES = 8 * 1024
_FREE_CHUNKS = 4096
_CHUNK_BYTES = 16
"""The least average size of chunks after the first ``_FREE_CHUNKS``, because each chunk has a fixed cost."""
_PIECE_BYTES = 16 * 1024
_RENEWAL_BYTES = 8 * 1024 * 1024
"""Of a body that the application stores while it arrives: the bytes that renew its time limit."""
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[\t -~\x80-\xff]*)?\r\n")


class RequestBody(io.RawIOBase):
    """The common part of both framings. ``total_s`` is the time limit from the application's first read to the end."""

    def __init__(
        self,
        source: Source,
        uploads: Uploads,
        *,
        total_s: float,
        expects_continue: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._clock = clock
        self._source = source
        self._uploads = uploads
        self._total_s = total_s
        self._deadline: Deadline | None = None
        self._expects_continue = expects_continue
        self._broke = False
        self._size = source.head_bytes
        """The bytes of the request that the application holds."""
        self._released = 0
        self._renewals = 0
        self._read_at = 0.0
        """When the application got the bytes of the last read."""
        self.on_begin: Callable[[], None] = _nothing
        """Called when the application starts to read."""
        self.on_end: Callable[[], None] = _nothing
        """Called when receiving ends, complete or not."""

    # io.RawIOBase builds readline and iteration on this.
    def readable(self) -> bool:
        """Always True."""
        return True

    def read(self, size: int = -1) -> bytes:
        """At most ``size`` bytes, as soon as some are available; without a size, all the rest. Empty at the end.

        Raises a 408 or 503 ``Problem``, ``ParseException`` for a malformed body, and ``OSError`` for a broken
        connection."""
        if size < 0:
            return self.readall()
        if self.is_whole or not size:
            return b""
        try:
            self._begin()
            data = self._next(size)
        except TooSlow:
            self._break_off()
            detail = f"the body did not arrive within {self._total_s:g} s, or stalled for too long"
            raise Problem(408, "Request timeout", detail) from None
        except BaseException:
            self._break_off()
            raise
        self._size += len(data)
        if self.is_whole:
            self._end()
        else:
            self._uploads.hold(self, self._size)
        self._read_at = self._clock()
        return data

    @property
    def received(self) -> int:
        """The bytes of the request read so far, including its head."""
        return self._size + self._released

    def release(self) -> None:
        """Stop counting the bytes read so far, because the application has stored them. Each 8 MiB of them renew the
        time limit, so that a large file may take as long as its size needs. The time since the last read does not
        count: the application needed it."""
        self._released += self._size
        self._size = 0
        self._uploads.end(self)
        if self._deadline is not None:
            self._deadline = self._deadline.later(self._clock() - self._read_at)
        if self._released // _RENEWAL_BYTES > self._renewals and not self.is_whole:
            self._renewals = self._released // _RENEWAL_BYTES
            self._deadline = Deadline.after(self._total_s, self._clock)

    def _begin(self) -> None:
        if self._deadline is None:
            self._deadline = Deadline.after(self._total_s, self._clock)
            self._uploads.hold(self, self._size)
            self.on_begin()
        self._source.begin(self._deadline)
        if self._expects_continue:
            self._expects_continue = False
            self._source.sock.sendall(_CONTINUE)

    def _break_off(self) -> None:
        self._broke = True
        self._end()

    def _end(self) -> None:
        self._uploads.end(self)
        self.on_end()

    def give_up(self) -> None:
        """Stop receiving the request."""
        self._source.give_up()

    def leave(self) -> bool:
        """Drain the unread rest if it is small. False if it is not drained: the next bytes on the connection are then
        not a request."""
        self._uploads.end(self)
        if self.is_whole:
            return True
        if not self.can_be_left:
            return False
        self._source.begin(Deadline.after(DRAIN_S), DRAIN_BYTES)
        try:
            while not self.is_whole:
                self._next(_PIECE_BYTES)
        except (TooSlow, OSError, ParseException, Problem):
            self._broke = True
        return self.is_whole

    @property
    def is_whole(self) -> bool:
        """Whether the whole body has been read."""
        raise NotImplementedError

    @property
    def can_be_left(self) -> bool:
        """Whether ``leave`` may be able to drain the rest. A client that waits for ``100 Continue`` may never send
        it."""
        return self.is_whole or not (self._broke or self._expects_continue)

    def _next(self, size: int) -> bytes:
        raise NotImplementedError


class LengthBody(RequestBody):
    """A body with Content-Length (RFC 9112 section 6.2)."""

    def __init__(self, length: int, source: Source, uploads: Uploads, **options: Any) -> None:
        super().__init__(source, uploads, **options)
        self._left = length

    @property
    def is_whole(self) -> bool:
        """Whether the whole body has been read."""
        return not self._left

    @property
    def can_be_left(self) -> bool:
        """Whether the rest is small enough to drain."""
        return super().can_be_left and self._left <= DRAIN_BYTES

    def _next(self, size: int) -> bytes:
        data = self._source.some(min(size, self._left))
        if not data:
            raise NoMoreData
        self._left -= len(data)
        return data


class ChunkedBody(RequestBody):
    """A chunked body (RFC 9112 section 7.1). Extensions and trailers are skipped.

    gunicorn's own decoder copies all received data once per chunk, which makes tiny chunks quadratic.
    """

    def __init__(self, source: Source, uploads: Uploads, **options: Any) -> None:
        super().__init__(source, uploads, **options)
        self._raw = b""
        self._at = 0
        self._left = 0
        self._between = b""
        """The bytes required before the next size line: the end of the previous chunk."""
        self._chunks = 0
        self._bytes = 0
        self._ready = bytearray()
        self._ended = False

    @property
    def is_whole(self) -> bool:
        """Whether the whole body has been read."""
        return self._ended and not self._ready

    def _next(self, size: int) -> bytes:
        while not self._ready and not self._ended:
            self._decode()
        if len(self._ready) <= size:
            ready, self._ready = self._ready, bytearray()
            return bytes(ready)
        data = bytes(self._ready[:size])
        del self._ready[:size]
        return data

    def _decode(self) -> None:
        """Decode received data, or receive more."""
        if self._left:
            self._take_content()
        elif not self._raw.startswith(self._between, self._at):
            if len(self._raw) - self._at >= len(self._between):
                raise ChunkMissingTerminator(self._raw[self._at : self._at + 2])
            self._receive()
        elif size_line := _SIZE_LINE.match(self._raw, self._at + len(self._between)):
            self._begin_chunk(int(size_line[1], 16), size_line.end())
        elif len(self._raw) - self._at > _LINE_BYTES or b"\n" in self._raw[self._at + len(self._between) :]:
            raise InvalidChunkSize(self._raw[self._at : self._at + 20])
        else:
            self._receive()

    def _take_content(self) -> None:
        """Decode the content of this chunk and of all following ones in the piece, one loop iteration each."""
        if self._at >= len(self._raw):
            self._receive()
        while self._left and self._at < len(self._raw):
            content = self._raw[self._at : self._at + self._left]
            self._ready += content
            self._at += len(content)
            self._left -= len(content)
            if self._left or not (size_line := _SIZE_LINE.match(self._raw, self._at + 2)):
                break
            if not self._raw.startswith(b"\r\n", self._at):
                raise ChunkMissingTerminator(self._raw[self._at : self._at + 2])
            self._begin_chunk(int(size_line[1], 16), size_line.end())

    def _begin_chunk(self, size: int, at: int) -> None:
        self._at, self._left, self._between = at, size, b"\r\n"
        self._chunks += 1
        self._bytes += size
        if self._chunks > _FREE_CHUNKS and self._bytes < self._chunks * _CHUNK_BYTES:
            raise InvalidChunkSize(b"the chunks are too small")
        if not size:
            self._skip_trailers()

    def _skip_trailers(self) -> None:
        """Read to the end of the body. The bytes after it belong to the next request."""
        # Without trailers, the size line's end is the first half of the empty line that ends the body.
        self._at -= 2
        skipped_from = self._at
        while (end := self._raw.find(b"\r\n\r\n", self._at)) < 0:
            if len(self._raw) - skipped_from > _TRAILER_BYTES:
                raise LimitRequestHeaders(f"the trailers are larger than {_TRAILER_BYTES} bytes")
            self._raw, self._at, skipped_from = self._raw[self._at :], 0, 0
            self._raw += self._received(_PIECE_BYTES)
        self._source.unread(self._raw[end + 4 :])
        self._raw, self._at, self._ended = b"", 0, True

    def _receive(self) -> None:
        # Do not receive past the content of a large chunk, because bytes beyond it are copied.
        size = max(_PIECE_BYTES, self._left)
        # Free the decoded bytes before waiting for the rest.
        self._raw, self._at = self._raw[self._at :], 0
        self._raw += self._received(size)

    def _received(self, size: int) -> bytes:
        data = self._source.some(size)
        if not data:
            raise NoMoreData
        return data


def _nothing() -> None:
    """The default callback: does nothing."""
