"""Sockets of clients."""

from __future__ import annotations

import socket
import struct
from typing import Any

_RESET = struct.pack("ii", 1, 0)


def reset_on_close(sock: Any) -> None:
    """What the kernel still holds for a client that takes nothing shall go with the connection, and not wait for it."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
