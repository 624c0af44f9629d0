"""The proxy does to connections what a test asks for, and nothing else."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress

import pytest

from tests.proxy import Proxy
from tests.stack import wait_for


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    """A proxy before a server that says everything back."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as server:
        threading.Thread(target=_accept, args=(server,), daemon=True).start()
        made = Proxy(server.getsockname()[1])
        yield made
        made.close()
        server.shutdown(socket.SHUT_RDWR)


def _accept(server: socket.socket) -> None:
    with suppress(OSError):
        while True:
            threading.Thread(target=_echo, args=(server.accept()[0],), daemon=True).start()


def _echo(connection: socket.socket) -> None:
    with connection, suppress(OSError):
        while data := connection.recv(65_536):
            connection.sendall(data)


def connect(proxy: Proxy, timeout_s: float = 5.0) -> socket.socket:
    """A connection through the proxy."""
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=timeout_s)


def echoed(connection: socket.socket, data: bytes) -> bytes:
    """What comes back of it."""
    connection.sendall(data)
    back = b""
    while len(back) < len(data):
        back += connection.recv(65_536)
    return back


def test_proxy_that_cuts_and_refuses(proxy: Proxy) -> None:
    """Cut connections are reset and new ones served; refused ones are not made; then all is normal again."""
    with closing(connect(proxy)) as one, closing(connect(proxy)) as other:
        assert echoed(one, b"a" * 300_000) == b"a" * 300_000
        assert echoed(other, b"b") == b"b"
        assert (proxy.open, proxy.accepted) == (2, 2)
        assert proxy.cut() == 2
        for connection in (one, other):
            with pytest.raises(ConnectionResetError):
                connection.recv(1)
    with closing(connect(proxy)) as kept:
        assert echoed(kept, b"new") == b"new"
        proxy.refuse()
        with pytest.raises(ConnectionRefusedError):
            connect(proxy)
        assert echoed(kept, b"kept") == b"kept"
        proxy.normal()
        with closing(connect(proxy)) as again:
            assert echoed(again, b"back") == b"back"
    wait_for(lambda: proxy.open == 0, "every connection is gone")


def test_proxy_that_swallows(proxy: Proxy) -> None:
    """A black hole says nothing to old and new connections; what it held arrives afterwards."""
    with closing(connect(proxy, 0.3)) as old:
        assert echoed(old, b"x") == b"x"
        proxy.black_hole()
        old.sendall(b"held")
        with closing(connect(proxy, 0.3)) as new:
            new.sendall(b"too")
            for connection in (old, new):
                with pytest.raises(TimeoutError):
                    connection.recv(1)
            proxy.normal()
            for connection, held in ((old, b"held"), (new, b"too")):
                connection.settimeout(5)
                assert connection.recv(10) == held


def test_proxy_that_is_slow(proxy: Proxy) -> None:
    """Delayed and dribbled traffic takes its time and arrives whole."""
    with closing(connect(proxy)) as connection:
        for slow in (lambda: proxy.delay(0.1), lambda: proxy.dribble(2, 0.05)):
            slow()
            began = time.monotonic()
            assert echoed(connection, b"0123456789") == b"0123456789"
            assert time.monotonic() - began >= 0.2


def test_proxy_with_hundreds_of_connections(proxy: Proxy) -> None:
    """Three hundred connections at a time are served, and cut at once."""
    with ExitStack() as open_ones:
        connections = [open_ones.enter_context(connect(proxy)) for _ in range(300)]
        for connection in connections:
            assert echoed(connection, b"a") == b"a"
        assert proxy.cut() == 300
    wait_for(lambda: proxy.open == 0, "every connection is gone")
