"""A body of ``multipart/form-data`` with one file (RFC 7578): its content is read while it arrives, never whole.

Werkzeug's decoder, which knows no I/O, takes the body apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

from flask import request
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.sansio.multipart import Data, Epilogue, Field, File, MultipartDecoder, NeedData

from web.intake.body import body_coding, pieces
from web.problems import Problem, field_problem
from web.server.body import RequestBody

FIELDS_BYTES = 64 * 1024
"""The most bytes of everything but the file: fields, headers of parts, and boundaries."""
_PIECE_BYTES = 32 * 1024
_BUFFER_BYTES = FIELDS_BYTES + 2 * _PIECE_BYTES
_BOUNDARY_CHARACTERS = 70
"""The most that RFC 2046 allows."""
_PARTS = 50


class Form:
    """The form in this request's body. ``content`` reads it up to its end; then ``fields`` are complete. The file's
    part is named ``name``, and has at most ``most`` bytes."""

    def __init__(self, name: str, most: int) -> None:
        boundary = request.mimetype_params.get("boundary", "")
        if request.mimetype != "multipart/form-data" or not 1 <= len(boundary) <= _BOUNDARY_CHARACTERS:
            accepted = {"Accept": "multipart/form-data"}
            detail = f"send multipart/form-data with a boundary of 1 to {_BOUNDARY_CHARACTERS} characters"
            raise Problem(415, "Wrong media type", detail, headers=accepted)
        body_coding()
        self.fields: dict[str, str] = {}
        self.filename = ""
        self._name = name
        self._most = most
        self._received = 0
        self._size = 0
        self._decoder = MultipartDecoder(boundary.encode(), _BUFFER_BYTES, max_parts=_PARTS)
        request.max_content_length = most + FIELDS_BYTES
        if (request.content_length or 0) > request.max_content_length:
            raise RequestEntityTooLarge

    def content(self) -> Iterator[bytes]:
        """The pieces of the file. The bytes of a piece count as stored once the next one is wanted. Raises 400, 408,
        413 and 422 ``Problem``s, and ``ClientDisconnected`` for a body that ends too early."""
        text, has_file = bytearray(), False
        current: File | Field | None = None
        for event in self._events():
            if isinstance(event, File):
                if has_file or event.name != self._name:
                    raise field_problem(str(event.name)[:100], f"only one file is accepted, named {self._name}")
                has_file, current, self.filename = True, event, event.filename or ""
            elif isinstance(event, Field):
                current, text = event, bytearray()
            elif isinstance(event, Data) and isinstance(current, File):
                self._size += len(event.data)
                if self._size > self._most:
                    raise RequestEntityTooLarge
                yield event.data
            elif isinstance(event, Data) and current is not None:
                text += event.data
                if not event.more_data:
                    self._add(str(current.name), bytes(text))
        if not has_file:
            raise field_problem(self._name, "is missing")

    def _add(self, name: str, value: bytes) -> None:
        try:
            self.fields[name] = value.decode()
        except UnicodeDecodeError as exc:
            raise field_problem(name[:100], "is not UTF-8") from exc

    def _check_rest(self, unread: int = 0) -> None:
        """Raise a 413 ``Problem`` if what was received, apart from the file and what is ``unread``, is too large."""
        if self._received - unread - self._size > FIELDS_BYTES:
            detail = f"its fields and the headers of its parts have more than {FIELDS_BYTES} bytes"
            raise field_problem("body", detail, status=413)

    def _events(self) -> Iterator[Any]:
        """The decoder's events up to the end of the body."""
        source = request.environ.get("wsgi.input")
        # The decoder wants None behind the last piece.
        for piece in chain(pieces(_PIECE_BYTES), [None]):
            try:
                self._received += len(piece or b"")
                self._decoder.receive_data(piece)
                while not isinstance(event := self._decoder.next_event(), NeedData):
                    yield event
                    # Decoding headers blocks the hub, about 2 ms for each KiB of the worst.
                    self._check_rest(unread=len(self._decoder.buffer))
                    if isinstance(event, Epilogue):
                        return
                self._check_rest()
            except ValueError as exc:
                raise field_problem("body", f"is not complete multipart/form-data: {exc}", status=400) from exc
            if isinstance(source, RequestBody):
                source.release()
