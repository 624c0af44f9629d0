"""The bytes of one connection, read within limits of time and head size, and in fair turns with other connections.

gunicorn's own reader has no limits. It reads as long as bytes arrive, and no other greenlet runs meanwhile.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from gevent.socket import wait_read
from gunicorn.http.errors import LimitRequestHeaders
from gunicorn.http.unreader import Unreader

from spool.deadline import Deadline
from web.limits.uploads import too_many
from web.server.fair_turns import TURN_S, Turns

HEAD_BYTES = 64 * 1024
"""The most bytes of a request line with its headers."""
_WAITED_S = 0.0005
"""A read that took longer had to wait for its bytes, so other greenlets ran."""
_PIECE_BYTES = 8 * 1024
_BODY_PIECE_BYTES = 64 * 1024
_AT_LEAST_S = 0.001
"""The least timeout: 0 would mean non-blocking."""
_FOR_EVER_S = 86_400.0
_SCRAP = memoryview(bytearray(_BODY_PIECE_BYTES))
"""The receive buffer of all connections; received bytes are copied at their real size. A buffer per connection would
hold 64 KiB for each one that waits."""


class TooSlow(Exception):
    """The client did not send the rest of a request in time."""


class Source(Unreader):  # type: ignore[misc]
    """The reader for gunicorn's parser. ``begin`` sets the limits of the next part of a request."""

    def __init__(self, sock: Any, turns: Turns, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._turns = turns
        self.sock = sock
        self.request: Any = None
        """The current or last request. It gives the path even after an error in its head."""
        self._clock = clock
        self._deadline = Deadline.never()
        self._left: int | None = None
        self._turn_began = clock()
        self._gave_up = False
        self.head_bytes = 0
        """The received bytes of the last head, perhaps with some of its body."""

    def begin(self, deadline: Deadline, size: int | None = None) -> None:
        """Limit the reads until the next call: until ``deadline``, and about ``size`` bytes at most."""
        self._deadline, self._left = deadline, size

    @property
    def has_buffered(self) -> bool:
        """Whether there are received but unconsumed bytes."""
        return bool(self.buf.getbuffer().nbytes)

    def await_request(self, within_s: float) -> bool:
        """Wait for the first bytes of a request. False if none came: the client disconnected or was silent too long.
        Always yields, so that pipelined requests do not monopolise the process."""
        if self.has_buffered:
            self._turns.rest()
            return True
        try:
            wait_read(self.sock.fileno(), timeout=within_s)
            data = self.sock.recv(_PIECE_BYTES)
        except TimeoutError:
            return False
        self.unread(data)
        return bool(data)

    def chunk(self, size_hint: int | None = None) -> bytes:
        """The next bytes; empty at the end of the connection. Raises ``TooSlow``, ``LimitRequestHeaders`` beyond the
        part's size limit, and a 503 ``Problem`` after ``give_up``."""
        if self._left is not None and self._left <= 0:
            raise LimitRequestHeaders(f"the head is larger than {HEAD_BYTES} bytes")
        self.take_turn()
        self._check_given_up()
        if self._deadline.passed:
            raise TooSlow
        size = _PIECE_BYTES if size_hint is None else max(1, min(size_hint, _BODY_PIECE_BYTES))
        before = self.sock.gettimeout()
        self.sock.settimeout(max(_AT_LEAST_S, self._deadline.capped_s(_FOR_EVER_S if before is None else before)))
        began = self._clock()
        try:
            # No other greenlet runs between the arrival of the bytes and their copy.
            data = bytes(_SCRAP[: self.sock.recv_into(_SCRAP[:size])])
        except TimeoutError:
            raise TooSlow from None
        except OSError:
            # ``give_up`` ends a waiting read with this error.
            self._check_given_up()
            raise
        finally:
            self.sock.settimeout(before)
        self._check_given_up()
        if (now := self._clock()) - began > _WAITED_S:
            self._turn_began = now
        if self._left is not None:
            self._left -= len(data)
        return data

    def some(self, size: int) -> bytes:
        """Up to ``size`` bytes, buffered ones first. Empty at the end of the connection."""
        buffered: bytes = self.take_buffered()
        if not buffered:
            return self.chunk(size)
        if len(buffered) > size:
            self.unread(buffered[size:])
        return buffered[:size]

    def take_turn(self) -> None:
        """Yield if this connection has used up its turn."""
        if self._clock() - self._turn_began > TURN_S:
            self._turns.wait()
            self._turn_began = self._clock()

    def discard(self, size: int, within_s: float) -> None:
        """Read and discard up to ``size`` bytes, or until the end of the connection or ``within_s``."""
        deadline = Deadline.after(within_s)
        self.take_buffered()
        # The application has run since the last read; that time does not count as this turn.
        self._turn_began = self._clock()
        while size > 0 and not deadline.passed:
            self.take_turn()
            self.sock.settimeout(max(_AT_LEAST_S, deadline.left_s))
            received = self.sock.recv_into(_SCRAP)
            if not received:
                return
            size -= received

    def linger(self, size: int, within_s: float) -> None:
        """End the connection so that the client gets its response. Closing with unread bytes would reset it, and the
        client could lose a part that it has not read yet (RFC 9112 section 9.6)."""
        self.sock.shutdown(socket.SHUT_WR)
        self.discard(size, within_s)

    def give_up(self) -> None:
        """Stop receiving the request. Its reader gets a 503 ``Problem``, even while it waits for bytes."""
        self._gave_up = True
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_RD)

    def _check_given_up(self) -> None:
        if self._gave_up:
            raise too_many() from None
