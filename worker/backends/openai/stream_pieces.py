"""Reads the pieces of the answer in an HTTP response; bounds the bytes without a piece."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import cast

import httpx2

from worker.backends import Alive, Complete, Piece
from worker.backends.openai.chunks import Answer, Garbage
from worker.backends.openai.errors import Unfinished
from worker.backends.openai.sse import SSEDecoder
from worker.backends.openai.whole_answers import pieces_of, read_document

MAX_SILENT_BYTES = 8 * 1024 * 1024
"""Limit for the bytes between two pieces: comments, empty chunks, roles."""
_ALIVE_EVERY_S = 1.0


def read_pieces(response: httpx2.Response, answer: Answer, on_begun: Callable[[], None]) -> Iterator[Piece]:
    """Yield all pieces of the answer in ``response``; ``on_begun`` is called at the first.

    Raises ``Unfinished`` if it stops without an end, ``Garbage``, ``EventTooLong``, ``ErrorInStream`` and ``httpx2``'s
    read errors.
    """
    kind = response.headers.get("content-type", "text/event-stream").partition(";")[0].strip().lower()
    if kind == "application/json":
        # Some servers send an error with status 200, and some do not stream.
        document = read_document(response)
        if document.get("choices"):
            yield from pieces_of(document, answer, on_begun)
            return
    if kind != "text/event-stream":
        raise Garbage(f"content type {kind[:60]} instead of text/event-stream")
    if response.headers.get("content-encoding", "identity").lower() not in ("identity", ""):
        # The request excludes encodings; and an encoded kilobyte may decode to a megabyte.
        raise Garbage("the stream has a Content-Encoding")
    try:
        yield from _events(response, answer, on_begun)
    except httpx2.RequestError:
        if not answer.ended:
            raise
        # Only data after the end was lost, such as the usage.
    if not answer.ended:
        raise Unfinished
    yield from answer.finish()


def _events(response: httpx2.Response, answer: Answer, on_begun: Callable[[], None]) -> Iterator[Piece]:
    decoder = SSEDecoder()
    begun = completed = False
    silent, alive_at = 0, float("-inf")
    # Raw, bypassing the layers that decode a Content-Encoding.
    for chunk in cast(Iterable[bytes], response.stream):
        silent += len(chunk)
        for event in decoder.feed(chunk):
            for piece in answer.feed(event):
                silent = 0
                if not begun:
                    begun = True
                    on_begun()
                yield piece
            if answer.done:
                return
        if decoder.commented:
            decoder.commented = False
            if time.monotonic() - alive_at >= _ALIVE_EVERY_S:
                alive_at = time.monotonic()
                yield Alive()
        if answer.complete and not completed:
            completed = True
            yield Complete(answer.finish_reason)
        if silent > MAX_SILENT_BYTES:
            raise Garbage(f"more than {MAX_SILENT_BYTES} bytes without a piece of the answer")
    for event in decoder.end():
        yield from answer.feed(event)
