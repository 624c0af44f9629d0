"""Server-sent events from bytes, in any pieces. https://html.spec.whatwg.org/multipage/server-sent-events.html

Only what Spool sends: LF or CRLF line ends, no byte order mark. A lone CR ends no line.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

_LINE_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Event:
    """One event. ``name`` is ``message`` if the server gave none."""

    name: str
    data: str


class SseParser:
    """``feed`` returns the events that are complete. ``retry_s``: the last reconnection time, 0 before one came."""

    def __init__(self) -> None:
        self.retry_s = 0.0
        self._rest = bytearray()
        self._name = ""
        self._data: list[str] = []

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """The events that end within this piece. Raises ``ValueError`` for a line beyond 64 MiB."""
        self._rest += chunk
        *lines, rest = self._rest.split(b"\n")
        if len(rest) > _LINE_BYTES:
            raise ValueError(f"a line of the stream is longer than {_LINE_BYTES} bytes")
        self._rest = bytearray(rest)
        for line in lines:
            event = self._line(line.removesuffix(b"\r").decode("utf-8", "replace"))
            if event is not None:
                yield event

    def _line(self, line: str) -> Event | None:
        if not line:
            return self._dispatch()
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            self._data.append(value)
        elif field == "event":
            self._name = value
        elif field == "retry" and value.isascii() and value.isdigit():
            self.retry_s = int(value) / 1000
        return None

    def _dispatch(self) -> Event | None:
        name, data = self._name or "message", self._data
        self._name, self._data = "", []
        return Event(name, "\n".join(data)) if data else None
