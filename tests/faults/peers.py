"""Clients that misbehave, on plain sockets: they ask for a stream and then do nothing, or are suddenly not there."""

from __future__ import annotations

import ctypes
import socket
import struct
from dataclasses import dataclass

from tests.faults.wire import TEXT, client_frame, request_head, upgrade_headers
from tests.stack import Web

PUSHED = ("sse", "ndjson", "text", "websocket", "websocket_many")
WAITING = (*PUSHED, "long_polling")
"""The transports that hold a connection open while nothing comes."""

_ACCEPT = {"sse": "text/event-stream", "ndjson": "application/x-ndjson", "text": "text/plain"}
_ATTACH_FILTER = 26  # SO_ATTACH_FILTER, asm-generic/socket.h
_DROP = struct.pack("HBBI", 0x06, 0, 0, 0)  # BPF_RET | BPF_K, 0: of each packet nothing


@dataclass
class Peer:
    """One connection on which a stream was asked for. ``head`` is the beginning of the answer."""

    transport: str
    sock: socket.socket
    head: bytes

    @property
    def status(self) -> int:
        """The answer's status."""
        return int(self.head.split(b" ", 2)[1])

    def leave(self) -> None:
        """Close, as an operating system does for a process that died."""
        self.sock.close()

    def reset(self) -> None:
        """Close with RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def vanish(self) -> None:
        """Hear and acknowledge nothing from now on, without a FIN: the cable is pulled. The kernel drops whatever
        comes for this socket before TCP sees it."""
        program = ctypes.create_string_buffer(_DROP)
        self.sock.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, struct.pack("HP", 1, ctypes.addressof(program)))

    def rest(self, within_s: float = 30.0) -> bytes:
        """Everything that comes until the server closes."""
        self.sock.settimeout(within_s)
        parts = []
        while data := self.sock.recv(1 << 20):
            parts.append(data)
        return b"".join(parts)


def attach(port: int, job: str, transport: str, *, after: int = 0, buffer: int = 0) -> Peer:
    """Ask for a job's log, and read the answer's head where it comes at once. ``buffer``: of the receiving kernel."""
    sock = socket.socket()
    if buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    sock.settimeout(10)
    sock.connect(("127.0.0.1", port))
    path, headers = f"/jobs/{job}/stream?after={after}", {"Accept": _ACCEPT.get(transport, "*/*")}
    if transport in ("websocket", "websocket_many"):
        path = "/ws" if transport == "websocket_many" else f"/jobs/{job}/ws?after={after}"
        headers = upgrade_headers()
    elif transport == "long_polling":
        path = f"/jobs/{job}/entries?after={after}&wait=55"
    elif transport == "short_polling":
        path = f"/jobs/{job}"
    sock.sendall(request_head(path, f"127.0.0.1:{port}", headers))
    head = b"" if transport.endswith("polling") else _head_from(sock)
    if transport == "websocket_many":
        sock.sendall(client_frame(TEXT, b'{"type":"follow","job":"%b","after":%d}' % (job.encode(), after)))
    return Peer(transport, sock, head)


def attach_to(web: Web, job: str, transport: str, *, after: int = 0, buffer: int = 0) -> Peer:
    """The same, at one of the stack's webs."""
    return attach(web.port, job, transport, after=after, buffer=buffer)


def _head_from(sock: socket.socket) -> bytes:
    """The head alone: what comes behind it stays where it is."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = sock.recv(1)
        if not byte:
            break
        head += byte
    return head
