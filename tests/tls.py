"""Certificates of a test's own, and a proxy that speaks TLS before a Unix socket that does not."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest


def certificate(directory: Path, name: str = "IP:127.0.0.1") -> tuple[Path, Path]:
    """The files of a self-signed certificate for ``name`` and of its key."""
    program = shutil.which("openssl")
    if program is None:
        if os.environ.get("CI"):
            pytest.fail("there is no openssl to make a certificate with")
        pytest.skip("there is no openssl to make a certificate with")
    kind = name.partition(":")[2].replace(".", "-")
    cert, key = directory / f"{kind}.pem", directory / f"{kind}.key"
    command = [program, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-subj", "/CN=spool-test", "-addext", f"subjectAltName={name}", "-days", "2"]
    subprocess.run([*command, "-keyout", str(key), "-out", str(cert)], check=True, capture_output=True)
    return cert, key


class TLSProxy:
    """On a loopback ``port``, speaks TLS and passes on what it reads to ``target``. ``heard`` is what clients said."""

    def __init__(self, target: Path, cert: Path, key: Path) -> None:
        self.heard = b""
        self.refused = 0
        """Handshakes that failed."""
        self._target = target
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(cert, key)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def close(self) -> None:
        """Accept no more, and wait until what was accepted has ended."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(5)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._threads.append(threading.Thread(target=self._serve, args=(client,), daemon=True))
                self._threads[-1].start()

    def _serve(self, client: socket.socket) -> None:
        try:
            secure = self._context.wrap_socket(client, server_side=True)
        except OSError:
            self.refused += 1
            client.close()
            return
        with secure, socket.socket(socket.AF_UNIX) as server:
            server.connect(str(self._target))
            back = threading.Thread(target=self._pump, args=(server, secure), daemon=True)
            back.start()
            self._pump(secure, server, heard=True)
            back.join()

    def _pump(self, source: socket.socket, sink: socket.socket, *, heard: bool = False) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                if heard:
                    self.heard += data
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@contextmanager
def tls_proxy(target: Path, cert: Path, key: Path) -> Iterator[TLSProxy]:
    """The proxy for the length of a ``with``."""
    proxy = TLSProxy(target, cert, key)
    try:
        yield proxy
    finally:
        proxy.close()
