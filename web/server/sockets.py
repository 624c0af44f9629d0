"""Options of clients' sockets."""

from __future__ import annotations

import socket
import struct
from typing import Any

_RESET = struct.pack("ii", 1, 0)


def reset_on_close(sock: Any) -> None:
    """Reset on close: drop the kernel's unsent data of a stalled client."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
