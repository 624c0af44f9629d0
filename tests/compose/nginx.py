"""A real nginx with compose's own configuration: only its ports, paths and the addresses of the webs are replaced."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from tests.stack import wait_for
from tests.tls import certificate

CONFIGURATION = Path(__file__).parents[2] / "compose" / "nginx.conf"
PROGRAM = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/opt/homebrew/bin")

needs_nginx = pytest.mark.skipif(PROGRAM is None, reason="nginx is not installed")


def listens(port: int) -> bool:
    """Whether a program accepts connections on ``port``."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Nginx:
    """nginx before two webs, on a plain port and a TLS port of its own. ``changes`` are further replacements."""

    def __init__(self, directory: Path, web1: int, web2: int, **changes: str) -> None:
        # Both at once: one after the other, they may be the same.
        with socket.create_server(("127.0.0.1", 0)) as plain, socket.create_server(("127.0.0.1", 0)) as tls:
            self.port, self.tls_port = plain.getsockname()[1], tls.getsockname()[1]
        self.certificate, key = certificate(directory)
        text = CONFIGURATION.read_text(encoding="utf-8")
        for old, new in {
            "web1:8000": f"127.0.0.1:{web1}",
            "web2:8000": f"127.0.0.1:{web2}",
            "listen 8080": f"listen 127.0.0.1:{self.port}",
            "listen 8443": f"listen 127.0.0.1:{self.tls_port}",
            "/etc/nginx/tls/cert.pem": str(self.certificate),
            "/etc/nginx/tls/key.pem": str(key),
            "/tmp/nginx": str(directory / "nginx"),
            "worker_processes auto;": "worker_processes 1;",
            "worker_rlimit_nofile 65536;": "",
            "worker_connections 16384;": "worker_connections 256;",
            **changes,
        }.items():
            assert old in text, old
            text = text.replace(old, new)
        path = directory / "nginx.conf"
        path.write_text(text, encoding="utf-8")
        self._command = [str(PROGRAM), "-p", str(directory), "-c", str(path), "-e", "stderr"]
        checked = subprocess.run([*self._command, "-t"], capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stderr
        self._process = subprocess.Popen([*self._command, "-g", "daemon off;"])
        wait_for(lambda: listens(self.port), "nginx listens")

    def workers(self) -> set[int]:
        """The ids of its worker processes."""
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text()
        return {int(pid) for pid in children.split()}

    def reload(self) -> None:
        """Read the configuration again, as ``nginx -s reload`` does."""
        os.kill(self._process.pid, signal.SIGHUP)

    def close(self) -> None:
        """End it, streams included."""
        self._process.terminate()
        self._process.wait(20)
