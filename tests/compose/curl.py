"""Readers through nginx over HTTP/2 and TLS, and when each token came to them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import websocket

STAMP = re.compile(rb"\b1\d{15} ")
"""A token of the demo with ``stamp``."""


class Arrivals:
    """When each token came, as seconds since the epoch. ``token`` matches each token once."""

    def __init__(self, token: re.Pattern[bytes] = STAMP) -> None:
        self.came: list[float] = []
        self.head = b""
        self.text = b""
        self._token = token
        self._from = 0

    def feed(self, data: bytes) -> None:
        """Take what has just come."""
        self.text += data
        for match in self._token.finditer(self.text, self._from):
            self.came.append(time.time())
            self._from = match.end()


class Client:
    """Requests to one nginx, by curl: no HTTP client among the requirements speaks HTTP/2."""

    def __init__(self, port: int, certificate: Path) -> None:
        self._origin = f"127.0.0.1:{port}"
        self._certificate = certificate

    def request(self, path: str, headers: Mapping[str, str], body: dict[str, Any] | None = None) -> Iterator[bytes]:
        """The response's head, then the pieces of its body, each when it comes."""
        argv = ["curl", "-sSN", "-i", "--http2", "--max-time", "60", "--cacert", str(self._certificate)]
        for name, value in headers.items():
            argv += ["-H", f"{name}: {value}"]
        if body is not None:
            argv += ["-H", "Content-Type: application/json", "-d", json.dumps(body)]
        with subprocess.Popen([*argv, f"https://{self._origin}{path}"], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            data = b""
            while b"\r\n\r\n" not in data:
                piece = os.read(process.stdout.fileno(), 65_536)
                assert piece, data
                data += piece
            head, _, rest = data.partition(b"\r\n\r\n")
            yield head.lower()
            yield rest
            while piece := os.read(process.stdout.fileno(), 65_536):
                yield piece
        assert process.returncode == 0

    def document(self, path: str, **headers: str) -> Any:
        """A JSON document."""
        return json.loads(b"".join(list(self.request(path, headers))[1:]))

    def stream(
        self, path: str, accept: str, token: re.Pattern[bytes] = STAMP, body: dict[str, Any] | None = None
    ) -> Arrivals:
        """The arrivals on a stream."""
        arrivals = Arrivals(token)
        pieces = self.request(path, {"Accept": accept, "Accept-Encoding": "gzip"}, body)
        arrivals.head = next(pieces)
        for piece in pieces:
            arrivals.feed(piece)
        return arrivals

    def long_polls(self, job: str) -> Arrivals:
        """The arrivals in a series of long polls, up to the job's end."""
        arrivals, after, ended = Arrivals(), 0, False
        while not ended:
            head, *pieces = self.request(f"/jobs/{job}/entries?after={after}&wait=25", {})
            arrivals.head = head
            arrivals.feed(b"".join(pieces))
            entries = json.loads(b"".join(pieces))["entries"]
            after = entries[-1]["id"]
            ended = entries[-1]["kind"] == "done"
        return arrivals

    def websocket(self, job: str) -> Arrivals:
        """The arrivals on a WebSocket over TLS."""
        arrivals, ended = Arrivals(), False
        url = f"wss://{self._origin}/jobs/{job}/ws?after=0"
        with closing(
            websocket.create_connection(url, sslopt={"ca_certs": str(self._certificate)}, timeout=30)
        ) as socket:
            while not ended:
                message = str(socket.recv())
                arrivals.feed(message.encode())
                ended = json.loads(message).get("kind") == "done"
        return arrivals
