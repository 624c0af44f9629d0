"""gunicorn's gevent worker with limits for clients.

The limits are: the time and size of a request, the time that a client may stall while it is sent a response, and the
number of connections that wait for their clients. gunicorn has none of them. It would drain an unread body of any
length without yielding to other greenlets. A client that is silent, stops reading or loses its network would hold its
connection for ever.
"""

from __future__ import annotations

import logging
import socket
import sys
from contextlib import suppress
from functools import partial
from itertools import count
from typing import Any

import gevent
import gevent.socket
from gevent.pool import Pool
from gevent.server import StreamServer
from gunicorn.http.errors import NoMoreData, ParseException
from gunicorn.workers.base_async import ALREADY_HANDLED
from gunicorn.workers.ggevent import GeventWorker

from spool.deadline import Deadline
from spool.settings import WebSettings
from web.limits.uploads import Uploads
from web.problems import Problem
from web.request_ids import id_of
from web.rounds import ROUNDS
from web.server.client_socket import ClientSocket
from web.server.connections import Connection, ConnectionTable
from web.server.fair_turns import Turns
from web.server.hijack import Hijack, Stream
from web.server.hijacked import HijackedConnection
from web.server.refusals import refusal
from web.server.request import BoundedRequest, Limits
from web.server.sockets import PlainSocket, reset_on_close
from web.server.source import Source, TooSlow
from web.services import State

log = logging.getLogger("spool.web")

_UNSENT_BYTES = 64 * 1024
_BEAT_S = 0.5
_DRAIN_CHECK_S = 0.1
_IDLE_WHILE_DRAINING_S = 2.0
"""Seconds that a kept-alive connection may stay idle once the process stops. A request on it is answered with
``Connection: close``. After so long an idle time, a request is unlikely to arrive just when the connection closes."""
_LINGER_S = 2.0
_LINGER_BYTES = 16 * 1024 * 1024
"""The most bytes of an unread body that are discarded before its connection closes, so that its client gets the
response."""
_UPLOADS = 8
"""The memory for bodies being received, in bodies of the largest size."""


class Worker(GeventWorker):  # type: ignore[misc]
    """Serves connections within the limits of the settings."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        settings = WebSettings.read()
        self._stall_s = settings.stall_s
        self._limits = Limits(settings.headers_s, settings.body_s, self.cfg.keepalive)
        self._table = ConnectionTable(self.cfg.worker_connections)
        self._turns = Turns()
        self._uploads = Uploads(_UPLOADS * settings.max_body_bytes)
        self._requests: dict[Any, tuple[Any, Any]] = {}
        """The current request of each connection, and the client's address."""

    @classmethod
    def check_config(cls, cfg: Any, _log: Any) -> None:
        """Refuse HTTP/2, whose requests gunicorn serves without ``handle_request``. The arbiter calls this first."""
        if "h2" in cfg.http_protocols:
            sys.exit("spool web: gunicorn's http_protocols has h2, but Spool serves HTTP/1.1 only: remove h2")

    def load_wsgi(self) -> None:
        """Load the application and wrap it in ``Hijack``."""
        super().load_wsgi()
        app: Any = self.wsgi
        self.app_state: State = app.extensions["spool"]
        self.wsgi: Any = Hijack(app, self)

    def run(self) -> None:
        """Serve until stopped. Then answer pending requests, let streams end, and close idle connections."""
        servers = [self._server(sock) for sock in self.sockets]
        while self.alive:
            self.notify()
            gevent.sleep(_BEAT_S)
        for server in servers:
            _accept_pending(server)
            server.close()
        # The master kills this process if it has not exited by then.
        deadline = Deadline.after(max(0.0, self.cfg.graceful_timeout - 1))
        hang_up = Deadline.after(min(_IDLE_WHILE_DRAINING_S, deadline.left_s))
        while (self.app_state.slots.taken or self._table.open) and not deadline.passed:
            self.notify()
            if hang_up.passed:
                self._table.hang_up_idle()
            gevent.sleep(_DRAIN_CHECK_S)
        for server in servers:
            server.stop(timeout=1)

    def _server(self, sock: Any) -> StreamServer:
        sock.setblocking(1)
        server = StreamServer(sock, handle=partial(self.handle, sock), spawn=Pool(self.worker_connections))
        if self.cfg.workers > 1:
            server.max_accept = 1
        server.start()
        return server

    def is_already_handled(self, respiter: Any) -> bool:
        """Stop reading from a hijacked connection. Raises ``StopIteration``, which is gunicorn's way to do so."""
        if respiter is ALREADY_HANDLED:
            raise StopIteration
        return False

    def give(self, sock: Any, stream: Stream, *, chunked: bool) -> None:
        """Hand the connection to the stream; gunicorn then finds its socket closed."""
        request, addr = self._requests[sock]
        # The bytes of a pipelined request are lost, so the connection closes after the stream and its client retries.
        is_reusable = self.cfg.keepalive and not request.should_close() and not request.unreader.take_buffered()
        plain = PlainSocket(sock.family, sock.type, sock.proto, sock.detach())
        plain.setblocking(False)
        stream.begin(
            HijackedConnection(
                plain,
                chunked=chunked,
                give_back=partial(self._take_back, addr) if is_reusable else None,
                stall_s=self._stall_s,
                unsent=self.app_state.unsent,
            )
        )

    def _take_back(self, addr: Any, plain: PlainSocket) -> None:
        # Also while the process stops, because the client got no ``Connection: close``.
        client = gevent.socket.socket(plain.family, plain.type, plain.proto, plain.detach())
        gevent.spawn(self.handle, client, client, addr, is_kept=True)

    def handle(self, listener: Any, client: Any, addr: Any, *, is_kept: bool = False) -> None:  # noqa: ARG002 - gunicorn's
        """Serve one connection. ``is_kept``: it has carried a request before."""
        sock = ClientSocket.of(client, self.app_state.unsent)
        connection = Connection(sock, addr)
        sock.on_stall = partial(self._table.stall, connection)
        sock.on_proceed = partial(self._table.proceed, connection)
        self._table.enter()
        try:
            # The connection may be closed by now; the next read then fails.
            with suppress(OSError):
                limit_kernel_unsent(sock)
                enable_keepalive(sock, self._stall_s)
            self._serve(connection, addr, is_kept=is_kept)
        except (OSError, NoMoreData):
            log.debug("client disconnected", exc_info=True)
        finally:
            self._table.leave(connection)
            sock.close()
            # Break the reference cycle through the connection to the socket.
            del sock.on_stall, sock.on_proceed

    def _serve(self, connection: Connection, addr: Any, *, is_kept: bool) -> None:
        """Serve the connection's requests, one after the other."""
        source = Source(connection.sock, self._turns)
        for number in count(1):
            if not self._await_request(connection, source, is_kept=is_kept or number > 1):
                return
            if not self._answer(connection, source, addr, number):
                return

    def _answer(self, connection: Connection, source: Source, addr: Any, number: int) -> bool:
        """Serve one request. Returns whether another one may follow."""
        # The request has begun to arrive, so the connection does not wait for its client here.
        self._table.proceed(connection)
        ROUNDS.enter()
        self._table.receive(connection)
        lingers = True
        request: BoundedRequest | None = None
        try:
            request = BoundedRequest(self.cfg, source, addr, number, self._limits, self._uploads)
            if self._exchange(connection, request, addr):
                return True
            lingers = not request.body.is_whole
        except OSError:
            raise
        except Exception as exc:  # noqa: BLE001 - the boundary: each is answered, and logged if it is a server error
            self._refuse(connection, source, exc)
        finally:
            # Break the reference cycle of request and source, or their memory would wait for the garbage collector.
            source.request = request = None
        # Only here, because a traceback would keep the request's data in memory before.
        if lingers:
            self._linger(connection, source)
        return False

    def _exchange(self, connection: Connection, request: BoundedRequest, addr: Any) -> bool:
        """Answer a request. Returns whether the next bytes on the connection are another request."""
        request.body.on_begin = partial(self._table.receive, connection)
        request.body.on_end = partial(self._table.proceed, connection)
        self._table.proceed(connection)
        with suppress(StopIteration):
            self.handle_request(addr, request, connection.sock, addr)
            self._table.receive(connection)
            return request.body.leave()
        return False

    def _await_request(self, connection: Connection, source: Source, *, is_kept: bool) -> bool:
        """Wait for a request. Returns whether one begins to arrive in time."""
        self._table.idle(connection)
        if not is_kept:
            within_s = self._limits.headers_s
        elif self.alive:
            within_s = self._limits.idle_s
        else:
            within_s = _IDLE_WHILE_DRAINING_S
        return source.await_request(within_s)

    def _refuse(self, connection: Connection, source: Source, exc: Exception) -> None:
        request = source.request
        # The head may not have been parsed.
        request_id = id_of(dict(getattr(request, "headers", None) or ()).get("X-REQUEST-ID"))
        if not isinstance(exc, (ParseException, Problem, TooSlow)):
            log.error("request %s failed: %s", request_id, getattr(request, "path", None), exc_info=exc)
        answer = refusal(exc, getattr(request, "method", None), getattr(request, "path", None), request_id)
        connection.sock.settimeout(self._stall_s)
        connection.sock.sendall(answer)

    def _linger(self, connection: Connection, source: Source) -> None:
        if connection.sock.fileno() >= 0:
            # The client has its response, so the connection may be evicted.
            self._table.idle(connection)
            source.linger(_LINGER_BYTES, _LINGER_S)

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> None:
        """Serve one request. Each piece of its body must arrive, and each piece of its response be read, within the
        stall limit. Between requests, gunicorn's ``keepalive`` applies. Raises ``StopIteration`` after a stall."""
        limit(sock, self._stall_s)
        self._requests[sock] = req, addr
        if self._table.is_crowded:
            req.force_close()
        try:
            super().handle_request(listener_name, req, sock, addr)
        except TimeoutError:
            log.info("client stalled for %g s; resetting its connection", self._stall_s)
            with suppress(OSError):
                reset_on_close(sock)
            # As after the last response of a connection.
            raise StopIteration from None
        finally:
            del self._requests[sock]
            limit(sock, None)


def _accept_pending(server: StreamServer) -> None:
    """Accept the connections in the kernel's queue, which would be reset when the socket closes."""
    while not server.full() and (accepted := server.do_read()):
        server.do_handle(*accepted)


def limit_kernel_unsent(sock: socket.socket) -> None:
    """Limit the unsent data in the kernel. Otherwise a slow reader shows only after 4 MB, and a few hundred of them use
    up the machine's memory for all connections."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_BYTES)


def enable_keepalive(sock: socket.socket, stall_s: float) -> None:
    """Enable TCP keepalive, so that the kernel detects a dead client of a silent stream."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    # macOS has other names for these; its default is two hours.
    if hasattr(socket, "TCP_KEEPIDLE"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, max(1, round(stall_s / 2)))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, max(1, round(stall_s / 6)))


def limit(sock: Any, stall_s: float | None) -> None:
    """Limit each send and receive to ``stall_s``; None removes the limit. The kernel also drops a client that
    acknowledges nothing for so long: sends do not notice a lost network until the buffer is full."""
    sock.settimeout(stall_s)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        # The connection may already be closed.
        with suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round((stall_s or 0) * 1000))
