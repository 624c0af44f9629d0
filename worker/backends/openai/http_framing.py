"""HTTP/1.1 framing: encodes requests, and parses answers with llhttp (``httptools``). Does no I/O.

Follows RFC 9112. llhttp refuses bytes that an intermediary could read differently; a bare LF ends a line of the head
(section 2.2), but not of the chunked coding (section 7.1). Divergences: folded lines (section 5.2) and a repeated
``Content-Length`` (section 6.3) are refused, and trailers are dropped.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser
from httpx2 import LocalProtocolError, RemoteProtocolError

Fields = list[tuple[bytes, bytes]]

MAX_HEAD_BYTES = 100 * 1024
"""Limit for an answer's status line and fields, including those of interim answers before it."""
MAX_EMPTY_BYTES = 16 * 1024
"""Limit for bytes of the chunked coding without content: a chunk's extensions, or the trailers."""

_TOKEN = re.compile(rb"[-!#$%&'*+.^_`|~0-9A-Za-z]+")
_TARGET = re.compile(rb"[\x21-\x7e]+")
# Possessive: a long line costs no more than its length.
_VALUE = re.compile(rb"(?:[^\x00\s]++(?:[ \t]++[^\x00\s]++)*+)?")


def encode_request(method: bytes, target: bytes, fields: Iterable[tuple[bytes, bytes]], body: bytes) -> bytes:
    """The whole request. ``fields`` are sent as given, and include a ``Content-Length`` for ``body`` or the chunked
    coding.

    Raises ``LocalProtocolError`` for an illegal request; the error never quotes a field's value.
    """
    if not _TOKEN.fullmatch(method) or not _TARGET.fullmatch(target):
        raise LocalProtocolError("illegal request line")
    lines, chunked = [b"%b %b HTTP/1.1" % (method, target)], False
    for name, value in fields:
        if not _TOKEN.fullmatch(name) or not _VALUE.fullmatch(value):
            raise LocalProtocolError("illegal header field")
        chunked = chunked or name.lower() == b"transfer-encoding"
        lines.append(b"%b: %b" % (name, value))
    if chunked:
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
    return b"\r\n".join([*lines, b"", body])


@dataclass(frozen=True, slots=True)
class Head:
    """An answer's status line and fields, in their order and case. ``version``: ``1.0`` or ``1.1``."""

    version: str
    status: int
    reason: bytes
    fields: Fields


class AnswerParser:
    """Parses the answer to one request, after its interim answers (1xx, RFC 9110, 15.2).

    ``head``: None until it is complete. ``ended``: the body has ended, and ``reusable``: another request may follow on
    the connection.
    """

    def __init__(self, method: bytes) -> None:
        self.head: Head | None = None
        self.ended = False
        self.reusable = False
        self._is_head = method == b"HEAD"
        self._until_closed = False
        self._empty_bytes = 0
        self._reason = b""
        self._fields: Fields = []
        self._content: list[bytes] = []
        self.on_body: Callable[[bytes], None] = self._content.append
        self._parser = HttpResponseParser(self)
        self._parser.set_dangerous_leniencies(
            lenient_optional_cr_before_lf=True,  # until the head is complete
            lenient_spaces_after_chunk_size=True,  # section 7.1.1
            lenient_chunked_length=True,  # both framings: the connection is not reused (section 6.3)
        )

    def feed(self, data: bytes) -> bytes:
        """The content in ``data``, possibly empty. ``b""`` means that the connection has ended. Not after ``ended``.

        Raises ``RemoteProtocolError``, also if the connection ends before the answer.
        """
        if not data:
            self._end_connection()
            return data
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as exc:
            if not self.ended:
                raise RemoteProtocolError(f"malformed answer: {exc.__context__ or exc}") from exc
            self.reusable = False  # unsolicited bytes
        parts = self._content
        content = parts[0] if len(parts) == 1 else b"".join(parts)
        parts.clear()
        if self.ended:
            del self._parser  # a reference cycle
            return b"" if self._is_head else content
        self._empty_bytes = 0 if content else self._empty_bytes + len(data)
        if self._empty_bytes > (MAX_EMPTY_BYTES if self.head else MAX_HEAD_BYTES):
            raise RemoteProtocolError(f"more than {self._empty_bytes - 1} bytes without content")
        return content

    def _end_connection(self) -> None:
        if not self._until_closed:
            part = "answer's end" if self.head else "answer"
            raise RemoteProtocolError(f"the server closed the connection before the {part}")
        self.ended = True

    # Called by httptools.

    def on_message_begin(self) -> None:
        if self.ended:
            raise RemoteProtocolError("bytes after the answer")
        self._reason, self._fields = b"", []

    def on_status(self, part: bytes) -> None:
        self._reason += part

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.head is None:  # else a trailer
            self._fields.append((name, value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        parser = self._parser
        version, status = parser.get_http_version(), parser.get_status_code()
        if version not in ("1.0", "1.1") or status < 100 or status == 101:
            raise RemoteProtocolError(f"HTTP {version}, status {status}")
        if status < 200:
            return
        parser.set_dangerous_leniencies(lenient_optional_cr_before_lf=False)
        self.head = Head(version, status, self._reason, self._fields)
        self._empty_bytes = 0
        self._frame(parser.should_keep_alive())

    def _frame(self, keeps_alive: bool) -> None:
        codings, lengths = self._tokens(b"transfer-encoding"), self._tokens(b"content-length")
        if codings not in ([], [b"chunked"]):
            raise RemoteProtocolError("unknown transfer coding")
        self._until_closed = not codings and not lengths
        self.reusable = keeps_alive and not (codings and lengths) and not self._is_head
        self.ended = self._is_head  # llhttp would wait for the body

    def _tokens(self, name: bytes) -> list[bytes]:
        values = [value for found, value in self._fields if found.lower() == name]
        return [token.strip().lower() for value in values for token in value.split(b",")]

    def on_message_complete(self) -> None:
        self.ended = self.head is not None
