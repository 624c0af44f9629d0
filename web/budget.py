"""A number of bytes that all connections of a process share."""

from __future__ import annotations


class Budget:
    """At most ``limit`` bytes at a time."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.taken = 0

    def take(self, count: int) -> bool:
        """Take so many bytes. False, and none taken, where fewer are left."""
        if self.taken + count > self.limit:
            return False
        self.taken += count
        return True

    def give(self, count: int) -> None:
        """Give back so many."""
        self.taken -= count
