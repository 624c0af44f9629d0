"""The bounded input of one WebSocket client, without I/O: received bytes in, messages and replies out."""

from __future__ import annotations

import time
from collections.abc import Callable

from web.limits.uploads import Uploads
from web.server.websocket_frames import close_frame, pong
from web.server.websocket_protocol import Closed, FrameParser, Received

_WAITING = 32
"""The most queued messages before reading stops."""
_WAITING_BYTES = 64 * 1024
_FRAMES_AT_ONCE = 32
"""Frames parsed before a yield: 4 KiB may hold 682 frames."""


class InputLimits:
    """The limits of a socket: ``most`` bytes a message, each within ``message_s`` seconds; ``uploads`` is shared."""

    def __init__(self, most: int, message_s: float, uploads: Uploads) -> None:
        self.most = most
        self.message_s = message_s
        self.uploads = uploads


class Assembly:
    """A message assembled from pieces: frames, or parts of one."""

    __slots__ = ("_clock", "_most", "_pieces", "began_at")

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
    """Complete messages queued for the route."""

    __slots__ = ("_messages", "size")

    def __init__(self) -> None:
        self.size = 0
        """The bytes of the queued messages."""
        self._messages: list[bytes] = []

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
        message = self._messages.pop(0)
        self.size -= len(message)
        return message

    def clear(self) -> None:
        """Discard all messages."""
        self._messages.clear()
        self.size = 0


class Input:
    """What one client has sent."""

    __slots__ = ("_assembly", "_parser", "_replies", "has_more", "has_pong", "inbox", "reply_to_close")

    def __init__(self, most: int) -> None:
        self.inbox = Inbox()
        self.has_more = False
        """Received frames remain to be parsed."""
        self.has_pong = True
        """A pong was received since the last ping."""
        self.reply_to_close: bytes | None = None
        """The answer to the client's close frame, after which nothing is parsed."""
        self._parser = FrameParser()
        self._assembly = Assembly(most)
        self._replies = b""

    @property
    def size(self) -> int:
        """Bytes of messages in memory."""
        return len(self._assembly) + self.inbox.size

    @property
    def began_at(self) -> float | None:
        """When the incomplete message began; None if there is none."""
        return self._assembly.began_at

    def feed(self, data: bytes) -> None:
        """Add received bytes, for ``parse``."""
        self._parser.feed(data)

    def parse(self) -> None:
        """Handle the next received frames, until the inbox is full. Raises ``Closed`` for input that is wrong or too
        large."""
        self.has_more = False
        for number, frame in enumerate(self._parser.frames(), 1):
            match frame.kind:
                case Received.TEXT:
                    message = self._assembly.add(frame.payload, finished=frame.is_last)
                    if message is not None:
                        self.inbox.put(message)
                case Received.BINARY:
                    raise Closed(1003, "send text frames")
                case Received.PING:
                    self._replies += pong(frame.payload)
                case Received.PONG:
                    self.has_pong = True
                case Received.CLOSE:
                    self.reply_to_close = close_frame(frame.code, frame.payload.decode())
                    return
            if number == _FRAMES_AT_ONCE or self.inbox.is_full:
                self.has_more = True
                return

    def take_replies(self) -> bytes:
        """The frames that must be sent back."""
        replies, self._replies = self._replies, b""
        return replies

    def clear(self) -> None:
        """Discard the messages, complete or not."""
        self._assembly.clear()
        self.inbox.clear()
