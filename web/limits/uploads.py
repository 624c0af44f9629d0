"""The requests and messages that a process is receiving: how much memory they hold, and which is given up for it.

Many that stop half-way would fill the memory, and one that arrives shall not have to wait for them. So the bytes of all
are bounded: beyond the limit the one without progress for the longest is given up.
"""

from __future__ import annotations

from typing import Protocol

from web.problems import Problem

OWN_BYTES = 16 * 1024
"""Of each, these do not count: what is small arrives, however many large ones there are."""
_PROGRESS_BYTES = 16 * 1024
"""A client that has sent so much more has made progress; a byte now and then is none."""


class Upload(Protocol):
    """What is being received."""

    def give_up(self) -> None:
        """Receive no more of it."""
        ...


class _Held:
    __slots__ = ("counted", "progress_at")

    def __init__(self) -> None:
        self.counted = 0
        self.progress_at = OWN_BYTES
        """The size that is the next progress."""


class Uploads:
    """At most ``limit`` bytes in what is not whole, beyond ``OWN_BYTES`` of each."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.counted = 0
        self._held: dict[Upload, _Held] = {}
        """Of those that count; the one without progress for the longest first."""

    def hold(self, upload: Upload, size: int) -> None:
        """So many bytes of it are in memory now. Gives up others beyond the limit, or this one."""
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
        """None of it is in memory, or all of it is with the application."""
        held = self._held.pop(upload, None)
        if held is not None:
            self.counted -= held.counted


def too_many() -> Problem:
    """The answer to a request that was given up."""
    detail = "this server receives too many large requests at once, and nothing of this one came for the longest"
    return Problem(503, "Too many requests in reception", detail, headers={"Retry-After": "1"})
