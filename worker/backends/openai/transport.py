"""A transport for ``httpx2`` (its ``BaseTransport``) that reads answers at little more than the system calls' cost.

``httpx2``'s own transport, with ``h11``, costs three times as much per chunk, and each token is a chunk. This one sends
requests whole and yields an answer's content in the pieces that arrive. HTTP/1.1 only, no proxies, no upgrades.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cached_property, partial

import httpx2

from worker.backends.openai.connection import Connection, Timeouts
from worker.backends.openai.http_framing import AnswerParser, Head, encode_request

_PORTS = {"http": 80, "https": 443}
_Origin = tuple[str, str, int]
"""Scheme, host, port."""


class UpstreamTransport(httpx2.BaseTransport):
    """Sends any number of requests at a time, from any thread or greenlet, over its own connections.

    It keeps at most ``keep`` connections whose answer was read to its end, for up to ``keep_s`` seconds, for requests
    to the same server. It never sends a request twice: a request on a dead connection fails.
    """

    def __init__(self, *, keep: int = 20, keep_s: float = 5.0) -> None:
        self._kept = _Kept(keep, keep_s)

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send the request and read the answer's head; iterating over the response's stream reads the content.

        Raises the errors of ``httpx2.HTTPTransport``: ``ConnectError``, ``ReadTimeout``, ``RemoteProtocolError`` etc.
        """
        timeouts: Timeouts = request.extensions.get("timeout", {})
        origin, raw = _origin(request.url), _encoded(request)
        connection = self._connected(origin, timeouts)
        parser = AnswerParser(request.method.encode())
        try:
            head, first = _exchange(connection, raw, parser, timeouts)
        except BaseException:
            connection.close()
            raise
        return httpx2.Response(
            status_code=head.status,
            headers=head.fields,
            stream=_Content(connection, parser, first, timeouts, partial(self._kept.put, origin, connection)),
            extensions={"http_version": f"HTTP/{head.version}".encode(), "reason_phrase": head.reason},
        )

    def _connected(self, origin: _Origin, timeouts: Timeouts) -> Connection:
        scheme, host, port = origin
        tls = self.tls if scheme == "https" else None
        return self._kept.take(origin) or Connection.open(host, port, tls, timeouts)

    @cached_property
    def tls(self) -> ssl.SSLContext:
        """How ``https`` is spoken. Reading the certificates takes 20 ms, which an upstream on ``http`` saves."""
        # As in httpx2's default: the system's certificates, or those of SSL_CERT_FILE or SSL_CERT_DIR.
        context = httpx2.create_ssl_context()
        context.set_alpn_protocols(["http/1.1"])
        return context

    def close(self) -> None:
        """Close the idle connections. The others are closed with their answers."""
        self._kept.close()


def _origin(url: httpx2.URL) -> _Origin:
    """Raises ``UnsupportedProtocol``."""
    if url.scheme not in _PORTS or not url.host:
        raise httpx2.UnsupportedProtocol("neither http:// nor https://")
    return url.scheme, url.raw_host.decode("ascii"), url.port or _PORTS[url.scheme]


def _encoded(request: httpx2.Request) -> bytes:
    """Raises ``LocalProtocolError``."""
    return encode_request(request.method.encode(), request.url.raw_path, request.headers.raw, request.read())


def _exchange(connection: Connection, raw: bytes, parser: AnswerParser, timeouts: Timeouts) -> tuple[Head, bytes]:
    """Send the request ``raw``. Returns the answer's head and the content that arrived with it."""
    # A server may refuse and close before it has read the whole request: then its refusal is the answer.
    with suppress(httpx2.WriteError):
        connection.send(raw, timeouts)
    with connection.receiving(timeouts) as receive:
        while True:
            content = parser.feed(receive())
            if parser.head is not None:
                return parser.head, content


class _Content(httpx2.SyncByteStream):
    """An answer's content, as it arrives: ``first``, then the rest. ``give_back`` gets a connection that may serve
    another request."""

    def __init__(
        self,
        connection: Connection,
        parser: AnswerParser,
        first: bytes,
        timeouts: Timeouts,
        give_back: Callable[[], None],
    ) -> None:
        self._connection = connection
        self._parser = parser
        self._first = first
        self._timeouts = timeouts
        self._give_back = give_back
        self._open = True

    def __iter__(self) -> Iterator[bytes]:
        parser = self._parser
        try:
            with self._connection.receiving(self._timeouts) as receive:
                if self._first:
                    yield self._first
                while not parser.ended:
                    if content := parser.feed(receive()):
                        yield content
        finally:
            self.close()

    def close(self) -> None:
        """Release the connection, or close it if the answer was not read to its end."""
        if not self._open:
            return
        self._open = False
        if self._parser.ended and self._parser.reusable and self._connection.sent:
            self._give_back()
        else:
            self._connection.close()


class _Kept:
    """The idle connections, oldest first."""

    def __init__(self, most: int, keep_s: float) -> None:
        self._most = most
        self._keep_s = keep_s
        self._lock = threading.Lock()
        self._waiting: list[tuple[float, _Origin, Connection]] = []

    def take(self, origin: _Origin) -> Connection | None:
        """The newest idle connection to ``origin`` that is still alive."""
        while True:
            self._drop()
            with self._lock:
                place = next((i for i in reversed(range(len(self._waiting))) if self._waiting[i][1] == origin), None)
                connection = None if place is None else self._waiting.pop(place)[2]
            if connection is None or connection.is_quiet():
                return connection
            connection.close()

    def put(self, origin: _Origin, connection: Connection) -> None:
        """Keep a connection, and drop the oldest one if there is no room."""
        connection.rest()
        with self._lock:
            self._waiting.append((time.monotonic() + self._keep_s, origin, connection))
        self._drop()

    def close(self) -> None:
        """Close all connections, and keep none from now on."""
        self._most = 0
        self._drop()

    def _drop(self) -> None:
        """Close the connections that are too old, or beyond the limit."""
        now = time.monotonic()
        with self._lock:
            old = sum(until <= now for until, _, _ in self._waiting)
            drop = max(old, len(self._waiting) - self._most)
            dropped, self._waiting = self._waiting[:drop], self._waiting[drop:]
        for _, _, connection in dropped:
            connection.close()
