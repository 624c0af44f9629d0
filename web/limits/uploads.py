"""The memory limit of incomplete requests and messages in one process.

Many stalled uploads would fill the memory, and others must not wait for them. So their total is bounded: beyond the
limit, the upload without progress for the longest is dropped.
"""

from __future__ import annotations

from typing import Protocol

from web.problems import Problem

OWN_BYTES = 16 * 1024
"""The bytes of each upload that do not count, so that small uploads always succeed beside large ones."""
_PROGRESS_BYTES = 16 * 1024
"""The bytes that count as progress; an occasional byte does not."""


class Upload(Protocol):
    """A request or message being received."""

    def give_up(self) -> None:
        """Stop receiving it."""
        ...


class _Held:
    __slots__ = ("counted", "progress_at")

    def __init__(self) -> None:
        self.counted = 0
        self.progress_at = OWN_BYTES
        """The size at which the next progress is recorded."""


class Uploads:
    """All incomplete uploads: at most ``limit`` bytes, not counting ``OWN_BYTES`` of each."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.counted = 0
        self._held: dict[Upload, _Held] = {}
        """The counted uploads, ordered by last progress, the oldest first."""

    def hold(self, upload: Upload, size: int) -> None:
        """Record that ``size`` bytes of the upload are in memory. Beyond the limit, drops others or this one."""
        counted = max(0, size - OWN_BYTES)
        if not counted:
            self.end(upload)
            return
        held = self._held.setdefault(upload, _Held())
        if size >= held.progress_at or counted < held.counted:
            self._held[upload] = self._held.pop(upload)
            held.progress_at = size + _PROGRESS_BYTES
        self.counted += counted - held.counted
        held.counted = counted
        while self.counted > self.limit:
            victim = next(iter(self._held))
            self.end(victim)
            victim.give_up()

    def end(self, upload: Upload) -> None:
        """Stop counting the upload: its memory is free, or it is complete."""
        held = self._held.pop(upload, None)
        if held is not None:
            self.counted -= held.counted


def too_many() -> Problem:
    """The problem for a dropped upload."""
    detail = "too many large requests at once, and this one made no progress for the longest; retry"
    return Problem(503, "Too many requests in reception", detail, headers={"Retry-After": "1"})
