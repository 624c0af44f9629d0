"""Bare text: the tokens' text and nothing else.

Sent text cannot be retracted, and has no place for an error. So a body is complete only after ``done``. If the job
fails, is cancelled, restarts after text was sent, or entries are missing, the connection is cut within the body, which
every HTTP client reports. A reader from the beginning of a restarted job gets the current attempt.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from spool.errors import StoreUnavailable, UndecodableRecord
from spool.following.reader import Reader
from spool.jobs.entries import Kind, decode_all
from spool.jobs.log import Row
from web.delivery.peer import Peer
from web.folds import Folds

MEDIA_TYPE = "text/plain"
_ROWS = 500


class Cut(Exception):
    """The text cannot continue."""


def text_of(rows: list[Row], *, has_text: bool) -> tuple[bytes, bool]:
    """The rows' text, and whether it completes the answer. ``has_text``: text was sent before. Raises ``Cut`` if the
    text cannot continue."""
    parts: list[str] = []
    for entry in decode_all([raw for _entry_id, raw in rows]):
        match entry["kind"]:
            case Kind.TOKEN:
                parts.append(entry["text"])
            case Kind.RESTARTED if has_text:
                raise Cut
            case Kind.RESTARTED:
                parts.clear()
            case Kind.DONE:
                return "".join(parts).encode(), True
            case Kind.FAILED | Kind.CANCELLED:
                raise CutAfter("".join(parts).encode())
    return "".join(parts).encode(), False


class CutAfter(Cut):
    """The text ends incomplete; ``data`` is its last part."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self.data = data


def stream_text(folds: Folds, reader: Reader, peer: Peer, heartbeat_s: float, *, has_text: bool) -> Iterator[bytes]:
    """The bytes of a ``text/plain`` stream. ``has_text``: the client already has text, from before its cursor."""
    # gunicorn sends the headers with the first piece, and a silent job must not delay them.
    yield b""
    try:
        while not peer.gone:
            rows, gap, ended = folds.take_rows(reader, _ROWS)
            if gap is not None:
                raise Cut
            data, whole = text_of(rows, has_text=has_text)
            has_moved = bool(rows)
            # Free the rows, so that a slow client does not keep them in memory beside the text.
            del rows
            if data:
                has_text = True
                yield data
            if whole:
                return
            if ended or reader.must_leave:
                raise Cut
            if not has_moved:
                reader.tick_at = time.monotonic() + heartbeat_s
                reader.wait()
    except CutAfter as cut:
        if cut.data:
            yield cut.data
        peer.cut()
    except (Cut, StoreUnavailable, UndecodableRecord):
        peer.cut()
