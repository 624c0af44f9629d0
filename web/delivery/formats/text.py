"""The bare text: the tokens' text and nothing else.

Text cannot be unsaid, and has no place for an error. So a body ends whole only with ``done``; when the job fails, is
cancelled, is restarted after text was sent, or entries are missing, the connection is cut in the middle of the body,
which every HTTP client reports. A reader that comes to a restarted job from the beginning gets the current attempt.
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
    """The text cannot go on."""


def text_of(rows: list[Row], *, said: bool) -> tuple[bytes, bool]:
    """What the rows add to the text, and whether the answer is whole. Raises ``Cut`` where it cannot go on;
    ``said``: text was sent before."""
    parts: list[str] = []
    for entry in decode_all([raw for _entry_id, raw in rows]):
        match entry["kind"]:
            case Kind.TOKEN:
                parts.append(entry["text"])
            case Kind.RESTARTED if said:
                raise Cut
            case Kind.RESTARTED:
                parts.clear()
            case Kind.DONE:
                return "".join(parts).encode(), True
            case Kind.FAILED | Kind.CANCELLED:
                raise CutAfter("".join(parts).encode())
    return "".join(parts).encode(), False


class CutAfter(Cut):
    """The text ends here, unfinished: ``data`` is what there was."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self.data = data


def stream_text(folds: Folds, reader: Reader, peer: Peer, heartbeat_s: float, *, said: bool) -> Iterator[bytes]:
    """The bytes of a ``text/plain`` stream. ``said``: the client has text already, from before its cursor."""
    # gunicorn sends the headers with the first piece, and a silent job must not hold them back.
    yield b""
    try:
        while not peer.gone:
            rows, gap, ended = folds.take_rows(reader, _ROWS)
            if gap is not None:
                raise Cut
            data, whole = text_of(rows, said=said)
            has_moved = bool(rows)
            # Not kept beside the text while the client takes its time.
            del rows
            if data:
                said = True
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
