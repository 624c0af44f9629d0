"""Liveness checks of a program that serves HTTP, for a loop that must not block."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import suppress

ASK_S = 4.0
"""Interval of the requests, and time limit of each answer."""
MISSES = 3
"""Consecutive missing answers after which the program counts as hung, so within 16 s."""
_CONNECT_S = 0.2


class Pulse:
    """Sends ``GET /livez`` to an address. Any answer counts, even an error, because it shows that the program runs.

    A pause of the checking process itself costs one answer at most.
    """

    def __init__(self, host: str, port: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._address = (host, port)
        self._clock = clock
        self._connection: socket.socket | None = None
        self._is_asked = False
        self._misses = 0
        self.due_at = 0.0
        """When to call ``hangs`` next, on ``clock``."""

    def begin(self) -> None:
        """Start the checks; the program has just become ready."""
        self.end()
        self._misses = 0
        self.due_at = self._clock() + ASK_S

    def end(self) -> None:
        """Stop the checks."""
        if self._connection is not None:
            self._connection.close()
        self._connection, self._is_asked = None, False

    def hangs(self) -> bool:
        """Check for the last answer, and send the next request. Returns whether too many answers are missing."""
        if self._is_asked:
            self._misses = 0 if self._has_answered() else self._misses + 1
        self.end()
        self.due_at = self._clock() + ASK_S
        if self._misses >= MISSES:
            return True
        self._ask()
        return False

    def _ask(self) -> None:
        self._is_asked = True
        with suppress(OSError):
            self._connection = socket.create_connection(self._address, timeout=_CONNECT_S)
            self._connection.setblocking(False)
            self._connection.send(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")

    def _has_answered(self) -> bool:
        with suppress(OSError):
            return self._connection is not None and bool(self._connection.recv(1))
        return False
