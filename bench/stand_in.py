"""A fast stand-in for a model server: chat completions in OpenAI's shape, each token's text the time it was due.

``python -m bench.stand_in PORT``. One greenlet a request, no framework, so that it is not what is measured.
``tokens`` (or else ``max_tokens``) and ``rate`` are fields of the body; the first token is due at once.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import gevent
from gevent.server import StreamServer

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_MODELS = b'{"object":"list","data":[{"id":"stand-in","object":"model","created":0,"owned_by":"bench"}]}'


def serve(sock: Any, _address: Any) -> None:
    """Answer one connection's requests, one after the other."""
    stream = sock.makefile("rb")
    while True:
        line = stream.readline()
        if not line:
            return
        length = 0
        while (header := stream.readline()) not in (b"\r\n", b""):
            name, _, value = header.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        body = stream.read(length)
        if line.startswith(b"GET"):
            head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(_MODELS)
            sock.sendall(head + _MODELS)
        else:
            _complete(sock, json.loads(body))


def _complete(sock: Any, asked: dict[str, Any]) -> None:
    interval_s, first_at = 1 / asked.get("rate", 50), time.time()
    sock.sendall(_HEAD)
    for number in range(asked.get("tokens", asked.get("max_tokens", 100))):
        due = first_at + number * interval_s
        left_s = due - time.time()
        if left_s > 0:
            gevent.sleep(left_s)
        _send(sock, b'{"content":"%d "}' % round(due * 1e6), b"null")
    _send(sock, b"{}", b'"stop"')
    _chunk(sock, b"data: [DONE]\n\n")
    sock.sendall(b"0\r\n\r\n")


def _send(sock: Any, delta: bytes, finish: bytes) -> None:
    choice = b'{"index":0,"delta":%b,"finish_reason":%b}' % (delta, finish)
    head = b'data: {"id":"c","object":"chat.completion.chunk","created":0,"model":"stand-in","choices":['
    _chunk(sock, head + choice + b"]}\n\n")


def _chunk(sock: Any, data: bytes) -> None:
    sock.sendall(b"%x\r\n%b\r\n" % (len(data), data))


if __name__ == "__main__":
    StreamServer(("127.0.0.1", int(sys.argv[1])), serve, backlog=1024).serve_forever()
