"""Bounded assembly and queueing of one WebSocket client's messages."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from web.limits.uploads import Uploads

_WAITING = 32
"""The most queued messages before reading stops."""
_WAITING_BYTES = 64 * 1024


class Closed(Exception):
    """Close the WebSocket with an RFC 6455 close ``code`` and ``reason``."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class InputLimits:
    """The limits of one socket: ``most`` bytes a message, each within ``message_s`` seconds; ``uploads`` is shared."""

    def __init__(self, most: int, message_s: float, uploads: Uploads) -> None:
        self.most = most
        self.message_s = message_s
        self.uploads = uploads


class Assembly:
    """A message assembled from pieces: frames, or parts of one."""

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.began_at: float | None = None
        """When the first piece was received; None before it."""
        self._most = most
        self._clock = clock
        self._pieces = bytearray()

    def __len__(self) -> int:
        return len(self._pieces)

    def add(self, data: bytes, *, finished: bool) -> bytes | None:
        """The message, if this piece completes it; otherwise None. Raises ``Closed`` if it is too large."""
        if len(self._pieces) + len(data) > self._most:
            raise Closed(1009, f"message larger than {self._most} bytes")
        if finished and not self._pieces:
            self.began_at = None
            return data
        if self.began_at is None:
            self.began_at = self._clock()
        self._pieces += data
        if not finished:
            return None
        message = bytes(self._pieces)
        self.clear()
        return message

    def clear(self) -> None:
        """Discard the pieces."""
        self.began_at = None
        self._pieces = bytearray()


class Inbox:
    """Complete messages queued for the route. ``on_take`` is called after each ``take``."""

    def __init__(self, on_take: Callable[[], None]) -> None:
        self.size = 0
        """The bytes of the queued messages."""
        self._messages: deque[bytes] = deque()
        self._on_take = on_take

    def __len__(self) -> int:
        return len(self._messages)

    @property
    def is_full(self) -> bool:
        """Whether reading must stop."""
        return len(self._messages) >= _WAITING or self.size >= _WAITING_BYTES

    def put(self, message: bytes) -> None:
        """Append a message."""
        self._messages.append(message)
        self.size += len(message)

    def take(self) -> bytes:
        """The oldest message. Raises ``IndexError`` if there is none."""
        message = self._messages.popleft()
        self.size -= len(message)
        self._on_take()
        return message

    def clear(self) -> None:
        """Discard all messages."""
        self._messages.clear()
        self.size = 0
