"""Webs that listen on loopback without keys: under which names they answer, on IPv4 and IPv6."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import websocket

from spool.run.programs import answers_ready
from tests.loopback import NO_CERTIFICATES
from tests.stack import Stack, running_stack
from web.loopback_hosts import is_trusted


def has_ipv6() -> bool:
    """Whether something can listen on ::1 here."""
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


@pytest.mark.parametrize(
    ("host", "trusted"),
    [
        ("127.0.0.1", True),
        ("LOCALHOST:8000", True),
        ("[::1]", True),
        ("[::1]:8000", True),
        ("[::2]:8000", False),
        ("[", False),
        ("::1", False),
        ("127.0.0.1.evil.example", False),
        ("evil.example:8000", False),
        ("localhost:8000:8000", False),
        ("", False),
    ],
)
def test_host_is_trusted(host: str, trusted: bool) -> None:
    """Loopback names with any port, and nothing else."""
    assert is_trusted(host, {"127.0.0.1", "localhost", "[::1]"}) is trusted


@pytest.fixture(scope="module")
def on_ipv6(short_dir: Path) -> Iterator[Stack]:
    """A stack whose web listens on ::1, in brackets as in a URL."""
    if not has_ipv6():
        pytest.skip("no IPv6 on this machine")
    directory = short_dir / "ipv6"
    directory.mkdir()
    with running_stack(directory, webs=1, workers=0, HOST="[::1]") as stack:
        yield stack


def test_web_on_ipv6(on_ipv6: Stack) -> None:
    """It answers under its address, the supervisor sees that it is ready, and pages of its own may use WebSockets."""
    port, url = on_ipv6.webs[0].port, on_ipv6.webs[0].url
    assert url == f"http://[::1]:{port}"
    assert answers_ready("::1", port, timeout_s=30)
    assert httpx.get(f"{url}/jobs", verify=NO_CERTIFICATES).status_code == 200
    assert httpx.get(f"{url}/jobs", headers={"Host": "evil.example"}, verify=NO_CERTIFICATES).status_code == 400
    websocket.create_connection(f"ws://[::1]:{port}/ws", timeout=60, origin=url).close()
