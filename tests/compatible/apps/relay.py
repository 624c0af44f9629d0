"""A relay before a Spool, which counts requests and can close a connection in the middle of its answer."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from urllib.parse import urlsplit


class Relay:
    """Forwards to the Spool at ``url``. ``cut_after``: the bytes of each of the first ``cuts`` answers that arrive."""

    def __init__(self, url: str, *, cut_after: int = 0, cuts: int = 0) -> None:
        self.requests = 0
        self._target = ("127.0.0.1", urlsplit(url).port)
        self._cut_after, self._cuts = cut_after, cuts
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            near, _ = self._listener.accept()
            far = socket.create_connection(self._target)
            for work in (self._requests, self._answers):
                threading.Thread(target=work, args=(near, far), daemon=True).start()

    def _requests(self, near: socket.socket, far: socket.socket) -> None:
        with suppress(OSError):
            while data := near.recv(65_536):
                self.requests += data.startswith(b"POST ")
                far.sendall(data)
            far.shutdown(socket.SHUT_WR)

    def _answers(self, near: socket.socket, far: socket.socket) -> None:
        cuts, self._cuts = self._cuts > 0, self._cuts - 1
        left = self._cut_after
        with suppress(OSError), near, far:
            while data := far.recv(65_536):
                near.sendall(data[:left] if cuts else data)
                left -= len(data)
                if cuts and left <= 0:
                    break
            # A close alone waits until the other thread's recv returns.
            near.shutdown(socket.SHUT_RDWR)
            far.shutdown(socket.SHUT_RDWR)
