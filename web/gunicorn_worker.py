"""gunicorn's gevent worker, with a bound on how long a client may take nothing, whatever the answer is.

gunicorn sends without one: a client that stops reading, or whose machine is gone, would hold its greenlet and its
connection for ever. And until a send fails at all, the kernel would take megabytes for each of them.
"""

from __future__ import annotations

import _socket
import logging
import socket
from contextlib import suppress
from functools import partial
from typing import Any

import gevent
import gevent.socket
from gunicorn.workers.base_async import ALREADY_HANDLED
from gunicorn.workers.ggevent import GeventWorker

from spool.deadline import Deadline
from spool.settings import WebSettings
from web.handover import HandOver
from web.pushed import Pushed
from web.state import State
from web.streams import reset_on_close

log = logging.getLogger("spool.web")

_UNSENT_BYTES = 64 * 1024
_STREAM_CHECK_S = 0.1


class Worker(GeventWorker):  # type: ignore[misc]
    """Closes connections whose client takes nothing for the stall limit."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._stall_s = WebSettings.read().stall_s
        self._requests: dict[Any, tuple[Any, Any]] = {}
        """The request that is answered on each connection, and the client's address."""

    def load_wsgi(self) -> None:
        """The application, and what takes streams out of it."""
        super().load_wsgi()
        app: Any = self.wsgi
        self.app_state: State = app.extensions["spool"]
        self.wsgi: Any = HandOver(app, self)

    def run(self) -> None:
        """Serve, and after the last request wait for what gunicorn does not know: streams, and requests on connections
        that came back from one."""
        super().run()
        deadline = Deadline.after(self.cfg.graceful_timeout)
        while (self.app_state.slots.taken or self._requests) and not deadline.passed:
            self.notify()
            gevent.sleep(_STREAM_CHECK_S)

    def is_already_handled(self, respiter: Any) -> bool:
        """A connection that was given away is not read from any more."""
        if respiter is ALREADY_HANDLED:
            raise StopIteration
        return False

    def give(self, sock: Any, stream: Pushed, *, chunked: bool) -> None:
        """Begin the stream on the connection, which gunicorn finds closed then."""
        request, addr = self._requests[sock]
        # What came of another request together with this one is not passed on: its client sees the connection close,
        # and asks again.
        may_go_on = self.cfg.keepalive and not request.should_close() and not request.unreader.take_buffered()
        plain = _socket.socket(sock.family, sock.type, sock.proto, sock.detach())
        plain.setblocking(False)
        stream.begin(plain, chunked=chunked, give_back=partial(self._take_back, addr) if may_go_on else None)

    def _take_back(self, addr: Any, plain: _socket.socket) -> None:
        if not self.alive:
            plain.close()
            return
        client = gevent.socket.socket(plain.family, plain.type, plain.proto, plain.detach())
        gevent.spawn(self.handle, client, client, addr)

    def handle(self, listener: Any, client: Any, addr: Any) -> None:  # noqa: ARG002 - gunicorn's
        """One connection."""
        with suppress(OSError):
            # It may be closed by now; whoever reads from it will see.
            hold_little(client)
            ask_when_quiet(client, self._stall_s)
        # gunicorn asks the listener for its address alone, and fails where that was closed since (it stops): clients
        # that it had let in would be hung up on. Their connection knows the address as well.
        super().handle(client, client, addr)

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> None:
        """One request: its body has to come, and its answer to be taken, piece by piece within the limit. Between
        requests gunicorn's own ``keepalive`` counts."""
        limit(sock, self._stall_s)
        self._requests[sock] = req, addr
        try:
            super().handle_request(listener_name, req, sock, addr)
        except TimeoutError:
            log.info("a client took nothing for %g s; its connection is reset", self._stall_s)
            with suppress(OSError):
                reset_on_close(sock)
            # As after an answer that was the connection's last.
            raise StopIteration from None
        finally:
            del self._requests[sock]
            limit(sock, None)


def hold_little(sock: socket.socket) -> None:
    """Let the kernel take little more than what is on its way to the client: else a slow reader is known as one only
    after 4 MB, and a few hundred of them use up what the machine has for all connections."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_BYTES)


def ask_when_quiet(sock: socket.socket, stall_s: float) -> None:
    """Let the kernel ask a client on whose stream nothing comes whether it is there."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    # macOS has other names for these, and asks after two hours.
    if hasattr(socket, "TCP_KEEPIDLE"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, max(1, round(stall_s / 2)))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, max(1, round(stall_s / 6)))


def limit(sock: Any, stall_s: float | None) -> None:
    """Bound each send and receive; and let the kernel give up a client that acknowledges nothing for so long: that
    its network is gone is not seen by sends, which succeed until the buffer is full."""
    sock.settimeout(stall_s)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        # The connection may be closed by now.
        with suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round((stall_s or 0) * 1000))
