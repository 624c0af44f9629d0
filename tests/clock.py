"""A clock that a test holds, to be passed where a program would read the machine's."""

from __future__ import annotations


class Clock:
    """Stands still until it is put forward. Seconds; steps of powers of two are added without an error."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now
