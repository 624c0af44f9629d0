"""A TCP proxy between a browser and a web, which cuts connections when a test says so."""

from __future__ import annotations

import re
import socket
import struct
import threading
from contextlib import suppress

_REQUEST = re.compile(rb"^(?:GET|POST|DELETE) (\S+) HTTP/1\.1\r\n", re.MULTILINE)
_RESET = struct.pack("ii", 1, 0)


class CuttingProxy:
    """Forwards what comes to ``url`` to a port of this machine. ``requests``: the path of every request it saw."""

    def __init__(self, target_port: int) -> None:
        self.requests: list[str] = []
        self._target = ("127.0.0.1", target_port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: set[socket.socket] = set()
        self._lock = threading.Lock()
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> int:
        """Reset every connection there is now; how many there were. New ones are served."""
        with self._lock:
            cut = list(self._sockets)
            self._sockets.clear()
        for sock in cut:
            try:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                # Wakes the thread that reads from it; the reset goes out when that one closes it.
                sock.shutdown(socket.SHUT_RD)
            except OSError:
                continue
        return len(cut) // 2

    def requests_for(self, job: str) -> list[str]:
        """The paths of those requests that were about one job."""
        return [path for path in self.requests if job in path]

    def close(self) -> None:
        """Serve nobody any more."""
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._target)
            except OSError:
                client.close()
                continue
            with self._lock:
                self._sockets |= {client, server}
            threading.Thread(target=self._pump, args=(client, server, True), daemon=True).start()
            threading.Thread(target=self._pump, args=(server, client, False), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, sniffed: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                if sniffed:
                    self.requests += [path.decode() for path in _REQUEST.findall(data)]
                target.sendall(data)
        with self._lock:
            self._sockets -= {source, target}
        for sock in (source, target):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
