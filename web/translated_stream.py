"""A translated stream continues a log at any place, at the cost of the bytes that it sends.

While it is behind, it moves by the checkpoints and pages that the streams of its process share, and adds those that are
missing. ``web.folds`` lets it read one page in turn, so two streams never read the same page. Once it is live, its
translation is its own.
"""

from __future__ import annotations

from prometheus_client import Counter

from spool.following.reader import Reader
from spool.jobs.entries import is_terminal
from spool.jobs.job import Job
from spool.jobs.log import Row
from spool.jobs.waits import Wait
from web.checkpoints import PIECE_BYTES, Checkpoint, Checkpoints, Frame, Translation

APART_BYTES = 16 * 1024
"""The least encoded entries between two checkpoints of a log."""
REPLAYED = Counter("spool_replayed_entries", "Entries read from a log and translated for streams on /v1 and /ai")


class TranslatedStream:
    """One reader's stream: the shared pages while it is behind, and its own translation once it is live."""

    __slots__ = ("_after", "_apart_bytes", "_checkpoints", "_is_shared", "_key", "_page_after", "_translation", "name")

    def __init__(
        self, checkpoints: Checkpoints, job: Job, translation: Translation, *, apart_bytes: int = APART_BYTES
    ) -> None:
        self.name = translation.name
        self._checkpoints = checkpoints
        self._apart_bytes = apart_bytes
        # Entries never change within an attempt. A rewind of Redis can replace them, and then another attempt begins.
        self._key = (job.id, translation.format, job.attempt, job.attempt_first, job.ended_at)
        self._translation = translation
        self._after = translation.after
        self._is_shared = False
        self._page_after: int | None = None
        """The cursor before the entries that come next, if they are read from Redis."""

    @property
    def over(self) -> bool:
        """Whether the stream has ended."""
        return self._translation.over

    def opening(self) -> bytes:
        """The bytes before the log's first entry."""
        return self._translation.opening()

    def replay(self, reader: Reader, frame: Frame) -> bytes | None:
        """The framed bytes of the next pages, which moves the reader past them; empty if none of them is sent. None:
        nothing was read, and the next page must go through ``entries``. Called in turn."""
        if self._translation.number <= self._after:
            ahead = self._checkpoints.furthest(self._key, self._after + 1)
            if ahead is not None and ahead.cursor > reader.cursor:
                self._move_to(ahead, reader)
                return b""
        pieces: list[bytes] = []
        size = 0
        while (page := self._checkpoints.page(self._key, reader.cursor)) is not None:
            if pieces and size + len(page.data) > PIECE_BYTES:
                break
            is_whole = self._translation.number > self._after
            self._move_to(page.end, reader)
            if is_whole and page.is_large:
                return page.framed(frame)
            pieces.append(page.data if is_whole else self._own().rest(page.data))
            size += len(pieces[-1])
        if not pieces:
            self._page_after = reader.cursor
            return None
        return frame(b"".join(pieces))

    def entries(self, rows: list[Row]) -> bytes:
        """The bytes of these entries; may be empty. A terminal entry also adds the end of the stream."""
        cursor, self._page_after = self._page_after, None
        if cursor is None:
            return self._own().entries(rows)
        # The terminal entry is a page by itself: its bytes repeat the whole answer, and all readers share them.
        pages = [rows[:-1], rows[-1:]] if is_terminal(rows[-1][1]) else [rows]
        data = []
        for page in pages:
            if page and not self.over:
                data.append(self._replayed(cursor, page, is_final=len(pages) > 1))
                cursor = page[-1][0]
        return b"".join(data)

    def heartbeat(self) -> bytes:
        """The bytes sent after a silence."""
        return self._own().heartbeat()

    def queued(self, wait: Wait) -> bytes:
        """The bytes that tell what a queued job waits for."""
        return self._own().queued(wait)

    def broken_off(self, code: str, message: str) -> bytes | None:
        """The last bytes of a stream that cannot continue; None cuts the connection."""
        return self._own().broken_off(code, message)

    def _replayed(self, cursor: int, rows: list[Row], *, is_final: bool) -> bytes:
        REPLAYED.inc(len(rows))
        own = self._own()
        first = own.number
        # A page before ``after`` is only folded. It is encoded if an event of it may be sent; most entries are one.
        is_encoded = first + len(rows) > self._after
        own.after = -1 if is_encoded else self._after
        data = own.page(rows)
        own.after = self._after
        rest = own.rest(data) if is_encoded and first <= self._after else data
        is_large = sum([len(raw) for _entry_id, raw in rows]) >= self._apart_bytes
        # Forks of the checkpoint shall not cost more than the entries did.
        if (is_large or is_final) and (own.over or own.parts <= len(rows)):
            end = Checkpoint(rows[-1][0], own)
            self._checkpoints.keep(self._key, cursor, end, data if is_encoded else None)
            self._is_shared = True
        return rest

    def _move_to(self, place: Checkpoint, reader: Reader) -> None:
        self._translation, self._is_shared = place.translation, True
        reader.cursor = place.cursor

    def _own(self) -> Translation:
        if self._is_shared:
            self._translation, self._is_shared = self._translation.fork(), False
            self._translation.after = self._after
        return self._translation
