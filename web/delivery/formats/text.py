"""Bare text: the tokens' text and nothing else.

Sent text cannot be retracted, and has no place for an error. So a body is complete only after ``done``. If the job
fails, is cancelled, restarts after text was sent, or entries are missing, the connection is cut within the body, which
every HTTP client reports. A reader from the beginning of a restarted job gets the current attempt.
"""

from __future__ import annotations

from spool.following.reader import Reader
from spool.jobs.entries import Kind, decode_all
from spool.jobs.log import Row
from spool.jobs.waits import Wait
from web.checkpoints import Frame
from web.delivery.encoding import Cut

MEDIA_TYPE = "text/plain"


class Text:
    """One stream. ``has_text``: the client already has text, from before its cursor. ``is_complete``: all of it."""

    __slots__ = ("_has_text", "over")

    def __init__(self, *, has_text: bool, is_complete: bool = False) -> None:
        self._has_text = has_text
        self.over = is_complete

    def entries(self, rows: list[Row]) -> bytes:
        """The rows' text. Raises ``Cut`` if the text cannot continue, or ends incomplete."""
        data, self.over = text_of(rows, has_text=self._has_text)
        self._has_text = self._has_text or bool(data)
        return data

    def replay(self, reader: Reader, frame: Frame) -> None:
        """None: pages of text are not shared."""

    def heartbeat(self) -> bytes:
        """Empty: anything would be part of the text."""
        return b""

    def queued(self, wait: Wait) -> bytes:  # noqa: ARG002 - the protocol's shape
        """Empty: anything would be part of the text."""
        return b""

    def broken_off(self, code: str, message: str) -> None:
        """None, which cuts the connection."""


def text_of(rows: list[Row], *, has_text: bool) -> tuple[bytes, bool]:
    """The rows' text, and whether it completes the answer. ``has_text``: text was sent before. Raises ``Cut`` if the
    text cannot continue, or ends incomplete."""
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
                raise Cut("".join(parts).encode())
    return "".join(parts).encode(), False
