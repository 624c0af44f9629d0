"""The limits of streams and connections in a process."""

from __future__ import annotations

import resource
import sys
from collections import Counter
from typing import Self

from spool.errors import OwnerStreamsFull, TooManyStreams

_BESIDE = 1000
_OWN_FILES = 50


def connections_for(max_streams: int) -> int:
    """The most concurrent connections of a process. There is room beside the streams, so that /livez answers under full
    load. They stay within the limit of open files, minus the process's own files for Redis, the broker and reading.
    Connections that streams have hijacked do not count here."""
    return max(1, min(max_streams + _BESIDE, _files() - _OWN_FILES - streams_for(max_streams)))


def streams_for(max_streams: int) -> int:
    """The most concurrent streams of a process, within the limit of open files."""
    return max(1, min(max_streams, (_files() - _OWN_FILES) // 2))


def _files() -> int:
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return files if files != resource.RLIM_INFINITY else sys.maxsize


class StreamSlots:
    """Slots for at most ``limit`` concurrent streams in this process, ``owner_limit`` of one owner (None: the same).
    Each process counts only its own."""

    def __init__(self, limit: int, owner_limit: int | None = None) -> None:
        self.limit = limit
        self.owner_limit = limit if owner_limit is None else owner_limit
        self.taken = 0
        self._by_owner: Counter[str] = Counter()

    def refuse_when_full(self, owner: str) -> None:
        """Raise ``TooManyStreams`` or ``OwnerStreamsFull`` if this owner cannot get a slot now."""
        if self.taken >= self.limit:
            raise TooManyStreams("stream limit reached in this process", retry_after_s=2.0)
        if self._by_owner[owner] >= self.owner_limit:
            detail = f"you have {self.owner_limit} streams open in this process, the limit of one owner; close some"
            raise OwnerStreamsFull(detail, retry_after_s=2.0)

    def one(self, owner: str) -> Slot:
        """Take a slot. Raises ``TooManyStreams`` or ``OwnerStreamsFull`` at once if none is free."""
        slot = Slot(self)
        slot.take(owner)
        return slot

    def take(self, owner: str) -> None:
        """Take a slot, until ``give_back``. Raises like ``one``."""
        self.refuse_when_full(owner)
        self.taken += 1
        self._by_owner[owner] += 1

    def give_back(self, owner: str) -> None:
        """Free a slot that was taken."""
        self.taken -= 1
        self._by_owner[owner] -= 1
        if not self._by_owner[owner]:
            del self._by_owner[owner]


class Slot:
    """At most one slot, given back once: by ``give_back``, or at the end of a ``with`` statement. Each open stream has
    one, so it is small."""

    __slots__ = ("_owner", "_slots")

    def __init__(self, slots: StreamSlots) -> None:
        self._slots = slots
        self._owner: str | None = None

    def take(self, owner: str) -> None:
        """Take the slot. Raises like ``StreamSlots.one``."""
        self._slots.take(owner)
        self._owner = owner

    def move(self) -> Slot:
        """A new object that has the slot instead of this one."""
        moved = Slot(self._slots)
        moved._owner, self._owner = self._owner, None
        return moved

    def give_back(self) -> None:
        """Free the slot, if it was taken."""
        owner, self._owner = self._owner, None
        if owner is not None:
            self._slots.give_back(owner)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.give_back()
