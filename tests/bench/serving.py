"""A server whose answers are cut anywhere, and the load generator against it."""

from __future__ import annotations

import random
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bench.load import Asked, Load, Readers
from bench.subject import Reading

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
ASKED = Asked(b'"text":"', tokens=20, seconds=110, ids=True)


@contextmanager
def serving(answer: Callable[[bytes], Iterator[bytes]]) -> Iterator[str]:
    """A server whose answers to requests come from ``answer``, one piece per write."""
    closes = "close" in answer.__name__

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            seen = b""
            while data := self.request.recv(65536):
                seen += data
                while b"\r\n\r\n" in seen:
                    head, _, seen = seen.partition(b"\r\n\r\n")
                    for piece in answer(head):
                        self.request.sendall(piece)
                if closes:
                    return

    with server(Handler) as url:
        yield url


@contextmanager
def server(handler: type[socketserver.BaseRequestHandler]) -> Iterator[str]:
    """A server with that handler; its URL."""

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        allow_reuse_address = True

    with Server(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/stream?x=1"
        finally:
            server.shutdown()
            thread.join()


def read(url: str, asked: Asked = ASKED, readers: int = 3) -> Load:
    """What readers of that URL see."""
    with Readers([Reading(url, ("Accept: text/event-stream",))] * readers, asked) as at_work:
        return at_work.result()


def event(number: int) -> bytes:
    """A token that was due five milliseconds ago."""
    return b'id: %d\nevent: token\ndata: {"id":%d,"text":"%d "}\n\n' % (number, number, time.time_ns() // 1000 - 5000)


def chunk(data: bytes) -> bytes:
    """In HTTP's framing."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def cut(data: bytes, seed: int) -> Iterator[bytes]:
    """In pieces of a few bytes."""
    chance = random.Random(seed)
    while data:
        size = chance.randint(1, 30)
        yield data[:size]
        data = data[size:]
