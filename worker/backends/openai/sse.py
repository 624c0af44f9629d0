"""Decodes the bytes of a ``text/event-stream`` into the data of its events. Does no I/O.

Lines end only at CR, LF or CRLF (``str.splitlines`` also splits at U+2028, which may occur in a JSON string). Only
complete lines are decoded, so that a character split over two reads stays whole.
Divergences from the specification: ``event``, ``id`` and ``retry`` are skipped. A last event without its blank line
counts if its ``data`` lines are complete, because some servers omit the last blank line.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

MAX_EVENT_BYTES = 8 * 1024 * 1024


class EventTooLong(ValueError):
    """An event is longer than ``MAX_EVENT_BYTES``."""


class SSEDecoder:
    """Decodes one stream, and keeps the state between two reads."""

    __slots__ = ("_after_cr", "_data", "_part", "_size", "commented")

    def __init__(self) -> None:
        self.commented = False
        """A comment has arrived; the caller resets it."""
        self._part: list[bytes] = []
        self._data: list[bytes] = []
        self._size = 0
        self._after_cr = False

    def feed(self, chunk: bytes) -> Iterable[bytes]:
        """The data of each event that ``chunk`` completes. Raises ``EventTooLong``."""
        if not self._part and not self._data and _is_one_event(chunk):
            self._after_cr = False
            self._size = 0
            return (chunk[6:-2],)
        return self._feed(chunk)

    def _feed(self, chunk: bytes) -> Iterator[bytes]:
        if not chunk:
            return
        ends_in_cr = chunk.endswith(b"\r")
        if self._after_cr:
            chunk = chunk.removeprefix(b"\n")  # the second half of a CRLF whose line is processed already
        self._after_cr = ends_in_cr
        self._size += len(chunk)
        lines = chunk.splitlines(keepends=True)
        rest = lines.pop() if lines and not lines[-1].endswith((b"\n", b"\r")) else b""
        for line in lines:
            if self._part:
                line = b"".join(self._part) + line
                self._part.clear()
            event = self._take(line.rstrip(b"\r\n"))
            if event is not None:
                self._size = len(rest)
                yield event
        if rest:
            self._part.append(rest)
        if self._size > MAX_EVENT_BYTES:
            raise EventTooLong(f"an event has more than {MAX_EVENT_BYTES} bytes")

    def end(self) -> Iterator[bytes]:
        """End the stream: yields the data of the last event if all its lines were complete."""
        if self._data and not self._part:
            yield self._dispatch()

    def _take(self, line: bytes) -> bytes | None:
        if not line:
            return self._dispatch() if self._data else None
        if line.startswith(b"data:"):
            self._data.append(line[6:] if line[5:6] == b" " else line[5:])
        elif line == b"data":
            self._data.append(b"")
        else:
            self.commented = self.commented or line.startswith(b":")
            if not self._data:
                self._size = 0  # a skipped comment or field: heartbeats must not add up
        return None

    def _dispatch(self) -> bytes:
        data = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
        self._data.clear()
        return data


def _is_one_event(chunk: bytes) -> bool:
    """Whether the chunk is one data line and its blank line, as nearly every read of a stream is."""
    if not chunk.startswith(b"data: ") or not chunk.endswith(b"\n\n"):
        return False
    return chunk.find(b"\n") == len(chunk) - 2 and b"\r" not in chunk
