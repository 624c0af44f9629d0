"""The health check of a web's container: what it says of a web, and when it ends one."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from spool.health import children_of, hangs, main
from tests.stack import free_port, wait_for


class Listener:
    """A listening socket; with an ``answer`` each connection gets it."""

    def __init__(self, answer: bytes = b"") -> None:
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.port = int(self.sock.getsockname()[1])
        self.over = threading.Event()
        if answer:
            threading.Thread(target=self._serve, args=(answer,), daemon=True).start()

    def _serve(self, answer: bytes) -> None:
        self.sock.settimeout(0.05)
        while not self.over.is_set():
            try:
                connection, _ = self.sock.accept()
            except TimeoutError:
                continue
            with connection:
                connection.recv(1000)
                connection.sendall(answer)
        self.sock.close()


@pytest.fixture
def tree() -> Iterator[subprocess.Popen[str]]:
    """A process with a child that has a child, which says when they are there."""
    inner = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])"
    outer = f"import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', {inner!r}]); p.wait(); input()"
    process = subprocess.Popen([sys.executable, "-c", outer], stdin=subprocess.PIPE, text=True)
    wait_for(lambda: len(children_of(process.pid)) == 2, "three processes")
    yield process
    for pid in children_of(process.pid):
        os.kill(pid, 9)
    process.kill()
    process.communicate()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc is Linux's")
def test_web_that_stands_still_is_ended(tree: subprocess.Popen[str]) -> None:
    """It takes a connection, and its kernel accepts it, but nothing is answered: all of it is killed."""
    still = Listener()
    assert main(["--end-children-of", str(tree.pid)], still.port, ready_s=0.05, alive_s=0.05) == 1
    wait_for(lambda: children_of(tree.pid) == [], "its processes are gone")
    assert tree.poll() is None
    still.sock.close()


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"])
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc is Linux's")
def test_web_that_cannot_take_jobs_is_left_alone(tree: subprocess.Popen[str], answer: bytes) -> None:
    """It starts, stops, or waits for Redis: it is not healthy, and nothing is killed."""
    web = Listener(answer) if answer else None
    assert main(["--end-children-of", str(tree.pid)], web.port if web else free_port()) == 1
    assert len(children_of(tree.pid)) == 2
    if web:
        web.over.set()


def test_web_that_is_well() -> None:
    """It can take jobs."""
    web = Listener(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert main([], web.port) == 0
    assert not hangs(web.port)
    web.over.set()
