"""The lines of a request's body, read while they arrive and never whole in memory; the body may be gzip (RFC 1952)."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack

from flask import request
from werkzeug.exceptions import RequestEntityTooLarge

from spool.errors import TooManyStreams
from web import auth
from web.intake.body import GZIP, body_coding, pieces
from web.problems import Problem, field_problem, retry_after
from web.server.body import RequestBody
from web.services import State
from web.time_slices import Slices

_PIECE_BYTES = 64 * 1024
_ANY_GZIP = 16 + zlib.MAX_WBITS


def body_lines(
    services: State, largest: int, held: ExitStack, most_bytes: int = 0
) -> Iterator[tuple[int, bytes | None]]:
    """The lines with their numbers, from 1. A line of more than ``largest`` bytes is None. The body may have
    ``most_bytes``, 0: as many as a file. A body above the limit of
    other bodies takes a place among the uploads of files, which ``held`` gives back. Raises 400, 408, 413, 415 and 503
    ``Problem``s, and ``ClientDisconnected`` for a body that ends too early."""
    settings = services.settings
    most = most_bytes or max(settings.max_body_bytes, settings.max_file_bytes)
    request.max_content_length = most
    is_gzip = body_coding(GZIP) == GZIP
    blocks = _stored(services, held, is_gzip=is_gzip)
    return numbered_lines(inflated(blocks, most) if is_gzip else blocks, largest)


def inflated_body(services: State, most: int, held: ExitStack) -> bytes:
    """A gzip body, decompressed as a whole: at most ``most`` bytes. Raises as ``body_lines`` does."""
    request.max_content_length = most
    return b"".join(inflated(_stored(services, held, is_gzip=True), most))


def _stored(services: State, held: ExitStack, *, is_gzip: bool) -> Iterator[bytes]:
    """The body in pieces. A small one is received as a whole first, so that it costs nothing else until it is complete.
    The bytes of others count as stored once the next piece is wanted."""
    source, most = request.environ.get("wsgi.input"), services.settings.max_body_bytes
    # A few bytes of gzip may be a line of megabytes.
    is_streamed, kept = is_gzip or (request.content_length or 0) > most, bytearray()
    if is_streamed:
        _take_place(services, held)
    for piece in pieces():
        kept += piece
        has_end = b"\n" in piece
        # It would live beside its copy until the next piece comes.
        del piece
        if not is_streamed and len(kept) > most:
            is_streamed = True
            _take_place(services, held)
        if is_streamed:
            services.refuse_when_full()
            yield from _cut(kept)
            kept.clear()
            if isinstance(source, RequestBody) and (is_gzip or has_end):
                source.release()
    yield from _cut(kept)


def _cut(data: bytearray) -> Iterator[bytes]:
    for at in range(0, len(data), _PIECE_BYTES):
        yield bytes(data[at : at + _PIECE_BYTES])


def _take_place(services: State, held: ExitStack) -> None:
    try:
        held.enter_context(services.file_uploads.one(auth.owner()))
    except TooManyStreams as exc:
        detail = f"{services.file_uploads.limit} files are being uploaded to this process, the most that it takes"
        headers = retry_after(exc.retry_after_s)
        raise Problem(503, "Too many uploads", f"{detail}; retry", headers=headers) from exc


def inflated(blocks: Iterable[bytes], most: int) -> Iterator[bytes]:
    """The decompressed content of gzip data, which may have several members. Raises a 400 ``Problem`` for other data,
    and 413 for more than ``most`` bytes."""
    inflating, slices, size, is_begun = zlib.decompressobj(_ANY_GZIP), Slices(), 0, False
    try:
        for block in blocks:
            rest = block
            while rest:
                slices.check()
                if inflating.eof:
                    inflating = zlib.decompressobj(_ANY_GZIP)
                is_begun = True
                data = inflating.decompress(rest, _PIECE_BYTES)
                size += len(data)
                if size > most:
                    raise RequestEntityTooLarge
                if data:
                    yield data
                rest = inflating.unused_data if inflating.eof else inflating.unconsumed_tail
    except zlib.error as exc:
        raise field_problem("body", "is not gzip data, as its Content-Encoding says", status=400) from exc
    if is_begun and not inflating.eof:
        raise field_problem("body", "is not complete gzip data", status=400)


def numbered_lines(blocks: Iterable[bytes], largest: int) -> Iterator[tuple[int, bytes | None]]:
    """The lines with their numbers, from 1. A line of more than ``largest`` bytes is None."""
    number, held, is_too_long = 1, bytearray(), False
    for block in blocks:
        *complete, rest = block.split(b"\n")
        for part in complete:
            is_too_long = is_too_long or len(held) + len(part) > largest
            yield number, None if is_too_long else bytes(held) + part
            number, held, is_too_long = number + 1, bytearray(), False
        is_too_long = is_too_long or len(held) + len(rest) > largest
        if not is_too_long:
            held += rest
    if held or is_too_long:
        yield number, None if is_too_long else bytes(held)
