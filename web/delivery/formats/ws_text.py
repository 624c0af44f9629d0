"""Bare text over a WebSocket: the tokens' text, one frame each.

Sent text cannot be retracted. So a restart after text was sent, or missing entries, closes the socket with 1011. The
close frame after ``failed`` or ``cancelled`` names it.
"""

from __future__ import annotations

from spool.following.reader import Reader
from spool.jobs.entries import Entry, is_terminal, kind_of
from spool.jobs.log import Row
from spool.jobs.waits import Wait
from web.checkpoints import Frame
from web.delivery.encoding import End, PerReader, Piece, Trouble, bare
from web.folds import Folds
from web.server.websocket_frames import close_frame, text_frame

_ROWS = 500
_CLOSES = {
    "server_draining": close_frame(1001, "this instance is draining; reconnect"),
    "store_unavailable": close_frame(1013, "StoreUnavailable"),
    "entries_missing": close_frame(1011, "entries are missing"),
}


class TextMessages:
    """The text of one job for one reader. ``has_text``: the client already has text, from before its cursor."""

    __slots__ = ("_has_text", "over")

    def __init__(self, *, has_text: bool) -> None:
        self._has_text = has_text
        self.over = False
        """The close frame has been encoded."""

    def entries(self, rows: list[Row]) -> bytes:
        """The tokens' frames, and a close frame if the text ends. Raises ``UndecodableRecord``."""
        frames, has_text, over = [], self._has_text, False
        for _entry_id, raw in rows:
            kind = kind_of(raw)
            if kind == b"token":
                frames.append(text_frame(str(Entry.decode(raw).fields["text"]).encode()))
                has_text = True
            elif kind == b"restarted" and has_text:
                frames.append(close_frame(1011, "generation was interrupted and restarted"))
                over = True
                break
            elif is_terminal(raw):
                frames.append(close_frame(1000, "" if kind == b"done" else f"the job ended: {kind.decode()}"))
                over = True
        self._has_text, self.over = has_text, over
        return b"".join(frames)

    def replay(self, reader: Reader, frame: Frame) -> bytes | None:  # noqa: ARG002 - the protocol's shape
        """No page is known beforehand."""
        return None

    def heartbeat(self) -> bytes:
        """Empty: the socket pings its client."""
        return b""

    def queued(self, wait: Wait) -> bytes:  # noqa: ARG002 - the protocol's shape
        """Empty: anything would be part of the text."""
        return b""

    def broken_off(self, code: str, message: str) -> bytes:  # noqa: ARG002 - the protocol's shape
        """The close frame."""
        self.over = True
        return _CLOSES[code]


class TextSocket(PerReader):
    """The encoding of a text socket: its last piece always ends with a close frame."""

    def __init__(self, folds: Folds, *, has_text: bool) -> None:
        self._messages = TextMessages(has_text=has_text)
        super().__init__(self._messages, bare, folds)

    def page(self, reader: Reader) -> Piece | None:
        """The frames of the next entries, and a close frame at the end; None if there are none."""
        rows, gap, ended = reader.take_rows(_ROWS)
        if gap is not None and gap.earliest is None and ended:
            return Piece(close_frame(4410, "gone"), End.WHOLE)
        if gap is not None:
            return self.broken(Trouble.ENTRIES_MISSING)
        data = self._messages.entries(rows)
        if ended and not self._messages.over:
            # The client had the whole log before.
            data += close_frame(1000)
        if ended or self._messages.over:
            return Piece(data, End.WHOLE)
        return Piece(data) if rows else None
