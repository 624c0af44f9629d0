"""The address of a client behind proxies."""

from __future__ import annotations

import pytest
from flask import Request
from werkzeug.test import EnvironBuilder

from web.access.addresses import client_address, counted_as, parse_networks

TRUSTED = parse_networks("10.0.0.0/8, 127.0.0.1, fd00::/8")


@pytest.mark.parametrize(
    ("peer", "said", "address"),
    [
        ("203.0.113.7", "198.51.100.1", "203.0.113.7"),
        ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "6.6.6.6, 198.51.100.1, 10.0.0.2", "198.51.100.1"),
        ("10.0.0.1", "10.0.0.3", "10.0.0.3"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "6.6.6.6, nonsense\"", "10.0.0.1"),
        ("10.0.0.1", ",".join(["6.6.6.6"] * 999), "6.6.6.6"),
        ("fd00::1", "2001:db8::5", "2001:db8::5"),
        ("", "6.6.6.6", ""),
        ("10.0.0.1", "6.6.6.6, 198.51.100.1:49152, 10.0.0.2:80", "198.51.100.1"),
        ("10.0.0.1", "[2001:db8::5]:49152", "2001:db8::5"),
        ("10.0.0.1", "[nonsense", "10.0.0.1"),
        ("::ffff:10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("::ffff:203.0.113.7", "198.51.100.1", "::ffff:203.0.113.7"),
    ],
)  # fmt: skip
def test_client_address(peer: str, said: str, address: str) -> None:
    """Only trusted proxies are believed, and only the last address that is none of them."""
    environ = EnvironBuilder(headers={"X-Forwarded-For": said}).get_environ()
    environ["REMOTE_ADDR"] = peer
    assert client_address(Request(environ), TRUSTED) == address


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("127.0.0.1", ""),
        ("::1", ""),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("::ffff:127.0.0.1", ""),
        ("", ""),
    ],
)
def test_counted_address(address: str, counted: str) -> None:
    """An IPv6 customer has 2^64 addresses, which count as one; loopback is not counted."""
    assert counted_as(address) == counted
