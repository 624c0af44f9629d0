"""Clients' sockets: the plain class, and options."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING, Any

from gevent import monkey

if TYPE_CHECKING:
    import _socket

    PlainSocket = _socket.socket
else:
    PlainSocket = monkey.get_original("socket", "socket")
"""Python's socket under gevent's: it never yields to another greenlet, and takes less memory."""

_RESET = struct.pack("ii", 1, 0)


def reset_on_close(sock: Any) -> None:
    """Reset on close: drop the kernel's unsent data of a stalled client."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
