"""Reception of a request's head.

gunicorn's parser copies all received bytes for each piece. So it gets a complete head, or an incomplete one as soon as
it would refuse it.
"""

from __future__ import annotations

import re
from contextlib import suppress

from web.limits.uploads import Uploads
from web.problems import Problem
from web.server.source import HEAD_BYTES, Source, TooSlow

_END = b"\r\n\r\n"
_LINE_BYTES = 8 * 1024
"""The most bytes of a request line."""
_REQUEST_LINE = re.compile(rb"(?:\r\n)?[^\s]+ [^\r\n]+ HTTP/[0-9.]+\r\n")
_BARE_LINE_FEED = re.compile(rb"(?<!\r)\n")


class Head:
    """The received bytes of one head. ``uploads`` counts them while more are awaited."""

    def __init__(self, source: Source, uploads: Uploads) -> None:
        self._source = source
        self._uploads = uploads
        self._data = bytearray()

    def receive(self) -> None:
        """Receive the whole head and put it back into the source. Raises ``OSError``."""
        seen, piece = 0, self._source.take_buffered()
        # Ignored here, because the parser gets the same error again, and then knows the path for the response.
        with suppress(TooSlow, Problem):
            while piece:
                self._data += piece
                if self._is_ready(seen):
                    break
                seen = len(self._data)
                self._uploads.hold(self, seen)
                piece = self._source.chunk()
        self._uploads.end(self)
        self._source.head_bytes = len(self._data)
        self._source.unread(bytes(self._data))

    def give_up(self) -> None:
        """Stop receiving the head."""
        self._source.give_up()

    def _is_ready(self, seen: int) -> bool:
        """Whether the head is complete, or can already be refused. The first ``seen`` bytes were not enough."""
        data = self._data
        if data.find(_END, max(0, seen - 3)) >= 0 or len(data) >= HEAD_BYTES:
            return True
        if _BARE_LINE_FEED.search(data, seen):
            return True
        if data.find(b"\n", 2, _LINE_BYTES) < 0:
            return len(data) >= _LINE_BYTES
        return _REQUEST_LINE.match(data, 0, _LINE_BYTES) is None
