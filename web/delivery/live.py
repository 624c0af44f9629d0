"""The one loop that pushes logs: ``LiveStream`` delivers a reader's entries to a connection, in any format.

A WSGI server keeps a greenlet, its stack and the request's objects for as long as a response lasts, and passes each
piece through every layer. A stream lasts for minutes and sends little. So it has neither: new entries are written to
its connection by the greenlet that brings them. Only work that may block, on Redis, on a turn to translate old entries
or on a slow client, runs in a greenlet, which ends when the stream is live again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol

import gevent

from spool.errors import StoreUnavailable, UndecodableRecord
from spool.following.reader import Reader
from spool.jobs.waits import Wait
from web.delivery.encoding import Encoding, End, Piece, Trouble

log = logging.getLogger("spool.web")


class Connection(Protocol):
    """The way to one client: a hijacked HTTP connection, or a WebSocket. It owns stalls and the bytes unsent."""

    @property
    def is_taken(self) -> bool:
        """Whether another stream on this connection has its turn; then ``send_now`` must not be called."""
        ...

    def turn(self) -> AbstractContextManager[None]:
        """Hold the right to send blocking, from the read of a page until it is sent: so a stalled client keeps one page
        in memory, not one for each stream on its connection."""
        ...

    def watch(self, on_gone: Callable[[], object]) -> None:
        """Call ``on_gone`` once the client disconnects."""
        ...

    def send_now(self, data: bytes, /) -> bytes | memoryview | None:
        """Send without blocking. Returns the rest, which must be sent next, or None. Raises ``OSError``."""
        ...

    def send(self, data: bytes | memoryview, /) -> None:
        """Send everything. Raises ``OSError``, also if the client stalls."""
        ...

    def finish(self, data: bytes, /) -> None:
        """Send the last bytes of a complete stream, and let go of the connection. Raises ``OSError``."""
        ...

    def close(self) -> None:
        """End the stream where it is, and let go of the connection."""
        ...


class LiveStream:
    """One stream. ``begin`` gives it its connection. It ends by itself, and then calls ``release``."""

    __slots__ = (
        "_busy",
        "_connection",
        "_encoding",
        "_has_changed",
        "_heartbeat_s",
        "_is_gone",
        "_noticed",
        "_reader",
        "_release",
        "_told",
        "opening",
    )

    def __init__(
        self, reader: Reader, encoding: Encoding, opening: bytes, release: Callable[[], None], *, heartbeat_s: float
    ) -> None:
        self.opening = opening
        """The bytes sent with the headers."""
        self._reader = reader
        self._encoding = encoding
        self._release = release
        # Half a second early, because the follower checks idle readers twice a second.
        self._heartbeat_s = max(heartbeat_s - 0.5, heartbeat_s * 0.5)
        # A ``Connection``; None before ``begin`` and after the end.
        self._connection: Any = None
        self._is_gone = False
        self._busy = False
        self._has_changed = False
        # The last wait of the queued job that the client was told.
        self._told: Wait | None = None
        # The notice that the client was shown.
        self._noticed: str | None = None

    def begin(self, connection: Connection) -> None:
        """Continue after the opening, which has been sent."""
        self.opening = b""
        self._connection = connection
        connection.watch(self._disconnected)
        self._reader.on_wake = self.look
        self._schedule_heartbeat()
        self.look()

    def abandon(self) -> None:
        """End the stream at once, without sending the rest. Works also before ``begin``."""
        self._release_all()
        connection: Connection | None = self._connection
        self._connection = None
        if connection is not None:
            connection.close()

    def look(self) -> bool:
        """React to new entries, a heartbeat tick or a drain. Called from the follower's greenlets, so it never
        blocks and never raises."""
        reader = self._reader
        if self._busy:
            self._has_changed = True
            return True
        try:
            data = None if self._connection.is_taken else self._encoding.live(reader)
        except Exception:
            # The boundary of this stream: the caller serves all others.
            log.exception("stream failed")
            self.abandon()
            return True
        if data:
            self._send_now(data)
        elif data is None and (reader.has_news() or reader.must_leave or time.monotonic() >= reader.tick_at):
            self._run(None)
        elif reader.feed.wait is not self._told or reader.notice is not self._noticed:
            self._tell()
        return True

    def _tell(self) -> None:
        """Tell the client what its queued job waits for, and the operator's notice, unless another stream has the
        connection's turn: then the next change or heartbeat tells it."""
        try:
            data = b"" if self._connection.is_taken else self._messages()
        except Exception:
            # As in ``look``.
            log.exception("stream failed")
            self.abandon()
            return
        if data:
            self._send_now(data)

    def _messages(self) -> bytes:
        """The messages that are no entries, and that the client has not been sent."""
        feed, data = self._reader.feed, b""
        if self._reader.notice is not self._noticed:
            self._noticed = self._reader.notice
            data = self._encoding.notice(self._noticed)
        if feed.wait is self._told:
            return data
        self._told = wait = feed.wait
        return data if wait is None or not feed.is_queued else data + self._encoding.queued(wait)

    def _send_now(self, data: bytes) -> None:
        try:
            left = self._connection.send_now(data)
        except OSError:
            self.abandon()
            return
        self._schedule_heartbeat()
        if left is not None or self._encoding.over:
            self._run(left)

    def _disconnected(self) -> None:
        if self._busy:
            self._is_gone = True
        else:
            self.abandon()

    def _schedule_heartbeat(self) -> None:
        self._reader.tick_at = time.monotonic() + self._heartbeat_s

    def _release_all(self) -> None:
        self._reader.on_wake = None
        # Release once only, however the stream ends.
        release, self._release = self._release, _nothing
        release()

    # Blocking work, in a greenlet.

    def _run(self, left: bytes | memoryview | None) -> None:
        self._busy = True
        gevent.spawn(self._catch_up, left)

    def _catch_up(self, left: bytes | memoryview | None) -> None:
        """Send the rest of a piece and all pending entries, then become live again."""
        try:
            if left is not None:
                self._send(left)
            del left
            self._send_pending()
        except OSError:
            # The client disconnected or stalled.
            self.abandon()
        except Exception:
            # The greenlet's boundary: without this the stream would never end.
            log.exception("stream failed")
            self.abandon()

    def _send_pending(self) -> None:
        while True:
            with self._connection.turn():
                if self._is_gone:
                    break
                is_done = self._send_page()
            if is_done:
                return
        self.abandon()

    def _send_page(self) -> bool:
        """Send the next page, or a due heartbeat. Returns whether the stream is live again or over."""
        reader = self._reader
        self._has_changed = False
        piece = self._take()
        if piece is not None and piece.end is not None:
            self._end(piece)
            return True
        data, is_silent = piece.data if piece is not None else b"", piece is None
        # Free the page, so that a slow client does not keep it in memory.
        del piece
        if is_silent:
            data = self._messages()
        if not data and time.monotonic() >= reader.tick_at:
            data = self._encoding.heartbeat(reader)
            self._schedule_heartbeat()
        if data:
            self._send(data)
        if reader.must_leave:
            self._end(self._encoding.broken(Trouble.NOT_AUTHENTICATED if reader.is_expelled else Trouble.DRAINING))
            return True
        self._busy = not is_silent or self._has_changed or reader.has_news()
        return not self._busy

    def _take(self) -> Piece | None:
        reader = self._reader
        try:
            return self._encoding.take(reader, reader.tick_at - time.monotonic())
        except StoreUnavailable:
            return self._encoding.broken(Trouble.UNAVAILABLE)
        except UndecodableRecord:
            log.exception("cannot decode the log of job %s", reader.feed.job_id)
            return self._encoding.broken(Trouble.ENTRIES_MISSING)

    def _send(self, data: bytes | memoryview) -> None:
        self._connection.send(data)
        self._schedule_heartbeat()

    def _end(self, piece: Piece) -> None:
        if piece.end is End.CUT:
            if piece.data:
                self._send(piece.data)
            self.abandon()
            return
        self._connection.finish(piece.data)
        self._connection = None
        self._release_all()


def _nothing() -> None:
    """Replaces ``release`` after its call."""
