"""The address of a client: the connection's, or what a trusted proxy says."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from flask import Request

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_FORWARDED_AT_MOST = 20


def parse_networks(text: str) -> tuple[Network, ...]:
    """Networks and addresses, divided by commas. Raises ``ValueError``."""
    return tuple(ipaddress.ip_network(part.strip()) for part in text.split(",") if part.strip())


def is_trusted(address: str, trusted: Sequence[Network]) -> bool:
    """Whether the address is in one of the networks."""
    if not trusted:
        return False
    try:
        found = _parsed(address)
    except ValueError:
        return False
    return any(found in network for network in trusted)


def client_address(request: Request, trusted: Sequence[Network]) -> str:
    """The client's address; empty if it is not known. From a trusted proxy, it is the last address of
    ``X-Forwarded-For`` that is no trusted proxy: the ones before it are what the client said."""
    address = request.remote_addr or ""
    if not is_trusted(address, trusted):
        return address
    said = ",".join(request.headers.getlist("X-Forwarded-For"))
    for part in reversed(said.rsplit(",", _FORWARDED_AT_MOST)[-_FORWARDED_AT_MOST:]):
        address = _without_port(part.strip()) or address
        if not is_trusted(address, trusted):
            break
    return address if _is_address(address) else request.remote_addr or ""


def counted_as(address: str) -> str:
    """The name under which an address is counted: one IPv6 customer has a network of 64 bits."""
    try:
        found = _parsed(address)
    except ValueError:
        return ""
    if found.is_loopback:
        # A program on this machine, or a proxy on it that SPOOL_TRUSTED_PROXIES does not name.
        return ""
    if found.version == 6:
        return str(ipaddress.ip_network(f"{address.partition('%')[0]}/64", strict=False))
    return str(found)


def _parsed(text: str) -> Address:
    """The address. Raises ``ValueError``. A socket that listens on IPv6 shows IPv4 clients as ``::ffff:192.0.2.1``
    (RFC 4291 section 2.5.5.2): all of them in one network of 64 bits, and in no network of IPv4."""
    found = ipaddress.ip_address(text)
    return found.ipv4_mapped or found if isinstance(found, ipaddress.IPv6Address) else found


def _without_port(text: str) -> str:
    """The address of ``192.0.2.1:80`` or ``[2001:db8::1]:80``, as some proxies write it."""
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
