"""A program of its own that does to a web what a stranger may: so that it takes no CPU from the reader it disturbs.

Each of its connections sends a head, and then the same piece again and again until the server closes or the time is
over; then it connects again. What came of it is printed as JSON: connections, bytes sent, statuses of the answers, the
longest life of a connection.
"""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import gevent
import gevent.socket

from tests.stack import ROOT, wait_for


@dataclass
class _Told:
    opened: int = 0
    sent: int = 0
    longest_s: float = 0.0
    answers: Counter[str] = field(default_factory=Counter)


class Flood:
    """A flooder that runs. ``told`` has what it printed, once it has ended."""

    def __init__(self, port: int, head: str, piece: str = "", **options: float) -> None:
        argv = [sys.executable, "-m", "tests.faults.flooder", str(port), "--head", head, "--piece", piece]
        for name, value in options.items():
            argv += [f"--{name.replace('_', '-')}", f"{value:g}"]
        self._popen = subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.told: dict[str, Any] = {}
        assert self._popen.stdout is not None
        # It has connected once everywhere.
        assert self._popen.stdout.readline().strip() == "begun"

    def end(self) -> None:
        """Let it end, and read what it tells."""
        assert self._popen.stdin is not None
        assert self._popen.stdout is not None
        self._popen.stdin.close()
        self.told = json.loads(self._popen.stdout.read())
        self._popen.wait(20)

    def close(self) -> None:
        """Gone, whatever it takes."""
        if self._popen.poll() is None:
            self._popen.kill()
            self._popen.wait(5)
        for pipe in (self._popen.stdin, self._popen.stdout):
            if pipe is not None:
                pipe.close()


@contextmanager
def flood(port: int, head: str, piece: str = "", **options: float) -> Iterator[Flood]:
    """A flood for the length of a ``with``. Options: ``connections``, ``at_once`` pieces, ``pause_s`` between them,
    ``again_s`` before a closed one connects again."""
    flooder = Flood(port, head, piece, **options)
    try:
        yield flooder
        flooder.end()
    finally:
        flooder.close()


def port_answers(port: int, within_s: float = 30.0) -> float:
    """Ask ``GET /livez`` on a connection of its own; seconds until its status was there."""
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=within_s) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        assert connection.recv(15) == b"HTTP/1.1 200 OK"
    return time.monotonic() - began


def closed_by_server(connections: list[socket.socket], within_s: float) -> None:
    """Wait until the server has closed all of these."""

    def is_closed(connection: socket.socket) -> bool:
        connection.setblocking(False)
        with suppress(BlockingIOError):
            try:
                while connection.recv(65_536):
                    pass
            except ConnectionResetError:
                pass
            return True
        return False

    left = list(connections)

    def all_closed() -> bool:
        left[:] = [connection for connection in left if not is_closed(connection)]
        return not left

    wait_for(all_closed, f"{len(connections)} connections are closed", within_s)


def _connection(told: _Told, asked: argparse.Namespace) -> None:
    piece = asked.piece.encode("latin-1") * int(asked.at_once)
    while True:
        began = time.monotonic()
        with suppress(OSError), gevent.socket.create_connection(("127.0.0.1", asked.port), timeout=10) as sock:
            told.opened += 1
            answer: list[bytes] = []
            reading = gevent.spawn(_read, sock, answer)
            try:
                sock.sendall(asked.head.encode("latin-1"))
                while not reading.ready():
                    if piece:
                        sock.sendall(piece)
                        told.sent += len(piece)
                    # A client of its own pace, and its other connections run meanwhile.
                    gevent.sleep(asked.pause_s if piece else 0.05)
            finally:
                reading.kill()
                told.longest_s = max(told.longest_s, time.monotonic() - began)
                status = b"".join(answer)[9:12].decode("latin-1")
                told.answers[status or "none"] += 1
        gevent.sleep(asked.again_s)


def _read(sock: Any, answer: list[bytes]) -> None:
    sock.settimeout(None)
    with suppress(OSError):
        while data := sock.recv(65_536):
            if len(answer) < 10:
                answer.append(data)


def main() -> None:
    """Flood until the input ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--head", default="")
    parser.add_argument("--piece", default="")
    parser.add_argument("--connections", type=float, default=1)
    parser.add_argument("--pause-s", type=float, default=0.0)
    parser.add_argument("--again-s", type=float, default=0.01)
    parser.add_argument("--at-once", type=float, default=1)
    asked = parser.parse_args()
    told = _Told()
    # Not all at one moment: what is tried is many that are open, and not many that come.
    apart_s = asked.again_s / asked.connections
    running = [gevent.spawn_later(n * apart_s, _connection, told, asked) for n in range(int(asked.connections))]
    while told.opened < asked.connections:
        gevent.sleep(0.02)
    print("begun", flush=True)
    gevent.get_hub().threadpool.apply(sys.stdin.read)
    gevent.killall(running)
    print(
        json.dumps(
            {
                "opened": told.opened,
                "sent": told.sent,
                "longest_s": round(told.longest_s, 2),
                "answers": dict(told.answers),
            }
        )
    )


if __name__ == "__main__":
    main()
