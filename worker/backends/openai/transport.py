"""A transport for ``httpx2`` (its ``BaseTransport``) that reads an answer at little more than what the system charges.

``httpx2``'s own, with ``h11``, costs three times that for each chunk, and a token is one. Here requests are sent
whole, and an answer's content comes in pieces as the network brought them. HTTP/1.1 only, no proxies, no upgrades.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial

import httpx2

from worker.backends.openai.connection import Connection, Timeouts
from worker.backends.openai.http_framing import Body, Head, HeadReader, encode_request

_PORTS = {"http": 80, "https": 443}
_Origin = tuple[str, str, int]
"""Scheme, host, port."""


class UpstreamTransport(httpx2.BaseTransport):
    """Sends requests over connections of its own; any number at a time, from any thread or greenlet.

    Of the connections whose answer was read to its end, at most ``keep`` are kept for another request to the same
    server, for up to ``keep_s`` seconds. Requests are never sent twice: one that finds its connection dead fails.
    """

    def __init__(self, *, keep: int = 20, keep_s: float = 5.0) -> None:
        # As httpx2's own by default: the system's certificates, or those that SSL_CERT_FILE or SSL_CERT_DIR name.
        self._tls = httpx2.create_ssl_context()
        self._tls.set_alpn_protocols(["http/1.1"])
        self._kept = _Kept(keep, keep_s)

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send it and read the answer's head; the content is read as the response's stream is iterated.

        Raises what ``httpx2.HTTPTransport`` does: ``ConnectError``, ``ReadTimeout``, ``RemoteProtocolError`` and so on.
        """
        timeouts: Timeouts = request.extensions.get("timeout", {})
        origin, raw = _origin(request.url), _encoded(request)
        connection = self._connected(origin, timeouts)
        try:
            head, rest = _answer(connection, raw, timeouts)
            body = head.body(request.method.encode())
        except BaseException:
            connection.close()
            raise
        stays = head.keeps_connection and connection.sent
        give_back = partial(self._kept.put, origin, connection) if stays else connection.close
        return httpx2.Response(
            status_code=head.status,
            headers=head.fields,
            stream=_Content(connection, body, rest, timeouts, give_back),
            extensions={"http_version": b"HTTP/1.%d" % head.minor, "reason_phrase": head.reason},
        )

    def _connected(self, origin: _Origin, timeouts: Timeouts) -> Connection:
        scheme, host, port = origin
        tls = self._tls if scheme == "https" else None
        return self._kept.take(origin) or Connection.open(host, port, tls, timeouts)

    def close(self) -> None:
        """Close the connections that nobody uses. The others are closed with their answers."""
        self._kept.close()


def _origin(url: httpx2.URL) -> _Origin:
    """Raises ``UnsupportedProtocol``."""
    if url.scheme not in _PORTS or not url.host:
        raise httpx2.UnsupportedProtocol("neither http:// nor https://")
    return url.scheme, url.raw_host.decode("ascii"), url.port or _PORTS[url.scheme]


def _encoded(request: httpx2.Request) -> bytes:
    """Raises ``LocalProtocolError``."""
    return encode_request(request.method.encode(), request.url.raw_path, request.headers.raw, request.read())


def _answer(connection: Connection, raw: bytes, timeouts: Timeouts) -> tuple[Head, bytes]:
    """The head of the answer to the request ``raw``, and what came with it."""
    # A server may refuse before it has taken all, and close: what it says then is the answer.
    with suppress(httpx2.WriteError):
        connection.send(raw, timeouts)
    reader = HeadReader()
    with connection.receiving(timeouts) as receive:
        while (found := reader.feed(receive())) is None:
            pass
    return found


class _Content(httpx2.SyncByteStream):
    """An answer's content, as it comes. Read to its end, it lets the connection go to ``give_back``."""

    def __init__(
        self, connection: Connection, body: Body, rest: bytes, timeouts: Timeouts, give_back: Callable[[], None]
    ) -> None:
        self._connection = connection
        self._body = body
        self._rest = rest
        self._timeouts = timeouts
        self._give_back = give_back
        self._open = True

    def __iter__(self) -> Iterator[bytes]:
        body = self._body
        try:
            with self._connection.receiving(self._timeouts) as receive:
                # What came with the head, even where nothing was to come.
                data, self._rest = self._rest, b""
                if data and (content := body.feed(data)):
                    yield content
                while not body.ended:
                    if content := body.feed(receive()):
                        yield content
        finally:
            self.close()

    def close(self) -> None:
        """Let the connection go, or close it in the middle of the answer."""
        if not self._open:
            return
        self._open = False
        if self._body.ended and not self._body.excess and not self._rest:
            self._give_back()
        else:
            self._connection.close()


class _Kept:
    """Connections that wait for another request, in the order in which they came."""

    def __init__(self, most: int, keep_s: float) -> None:
        self._most = most
        self._keep_s = keep_s
        self._lock = threading.Lock()
        self._waiting: list[tuple[float, _Origin, Connection]] = []

    def take(self, origin: _Origin) -> Connection | None:
        """The last that came back from ``origin`` and is still alive."""
        while True:
            self._drop()
            with self._lock:
                place = next((i for i in reversed(range(len(self._waiting))) if self._waiting[i][1] == origin), None)
                connection = None if place is None else self._waiting.pop(place)[2]
            if connection is None or connection.is_quiet():
                return connection
            connection.close()

    def put(self, origin: _Origin, connection: Connection) -> None:
        """Keep it, at the cost of the one that waits longest if there is no room."""
        connection.rest()
        with self._lock:
            self._waiting.append((time.monotonic() + self._keep_s, origin, connection))
        self._drop()

    def close(self) -> None:
        """Keep none, now and from now on."""
        self._most = 0
        self._drop()

    def _drop(self) -> None:
        """Close those that are too old or too many."""
        now = time.monotonic()
        with self._lock:
            old = sum(until <= now for until, _, _ in self._waiting)
            drop = max(old, len(self._waiting) - self._most)
            dropped, self._waiting = self._waiting[:drop], self._waiting[drop:]
        for _, _, connection in dropped:
            connection.close()
