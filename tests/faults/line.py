"""One connection of a reader: asking, taking what comes, and what the ways in which it ends mean."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

from tests.faults.following import Following, Turn
from tests.faults.wire import Body, Head, read_head, request_head

_READ = 65_536


@dataclass
class Line:
    """A connection of one reader. ``pace``: it takes so many bytes every so many seconds."""

    following: Following
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    host: str
    headers: dict[str, str]
    expects: frozenset[int] = frozenset()
    expects_gaps: bool = False
    pace: tuple[int, float] | None = None
    heard_at: float = 0.0

    @property
    def at_the_end(self) -> bool:
        """It began at a cursor and got nothing: a clean end says that this was the log's last entry. The checker
        knows whether it was."""
        return bool(self.following.after) and not self.following.ids

    async def get(self, path: str, headers: dict[str, str]) -> Head:
        """Ask, and read the answer's head."""
        self.heard_at = time.monotonic()
        self.writer.write(request_head(path, self.host, {**headers, **self.headers}))
        head = await read_head(self.reader)
        self.heard_at = time.monotonic()
        return head

    async def data(self) -> AsyncIterator[bytes]:
        """What comes, until the connection closes."""
        size, every_s = self.pace or (_READ, 0.0)
        while data := await self.reader.read(size):
            self.heard_at = time.monotonic()
            yield data
            if every_s:
                await asyncio.sleep(every_s)

    async def body(self, body: Body) -> AsyncIterator[bytes]:
        """What comes of a body, until it is whole or the connection closes."""
        if not body.whole:
            async for data in self.data():
                yield body.feed(data)
                if body.whole:
                    return

    async def refused(self, head: Head) -> Turn:
        """An answer that is none of those which the transport knows."""
        status, over = head.status, head.status < 500 and head.status != 429
        if status in self.expects:
            return Turn(f"status {status}", over=over)
        if status in (429, 503):
            after = head.headers.get("retry-after", "")
            error = "" if after.isdigit() else f"status {status} without Retry-After"
            return Turn(f"status {status}", pause_s=float(after) if after.isdigit() else 1.0, error=error)
        said = b"".join([data async for data in self.body(Body(head))])[:300]
        return Turn(f"status {status}", pause_s=0.2, error=f"status {status}: {said!r}", over=over)

    def gap(self, document: dict[str, object]) -> None:
        """The server says that entries are missing."""
        self.following.gaps.append(document)
        if not self.expects_gaps:
            self.following.errors.append(f"gap after {self.following.cursor}: {document}")

    def end(self, body: Body, said: Turn | None) -> Turn:
        """The stream is over; ``said`` is what it announced."""
        if self.following.ended:
            return Turn("ended", over=True)
        if said is not None:
            return said
        if body.whole and self.at_the_end:
            return Turn("ended", over=True)
        if body.whole and self.following.gaps:
            # The gap said already that there is no more; coming back is answered with 204 or 410.
            return Turn("clean end after a gap")
        if body.whole:
            return Turn("clean end", error=f"ended whole after {self.following.cursor}, without end or a word")
        return Turn("cut")
