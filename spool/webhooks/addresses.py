"""The addresses that webhooks may be delivered to: public ones, and those that the operator allows."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Self

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address

_NOT_PUBLIC_V4 = tuple(
    IPv4Network(text)
    for text in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24"),
        *("203.0.113.0/24", "224.0.0.0/3", "168.63.129.16/32"),
    )
)
"""IANA's special-purpose networks, multicast, what is reserved, and the platform's own address in Azure."""
_PUBLIC_V6 = IPv6Network("2000::/3")
_NOT_PUBLIC_V6 = tuple(IPv6Network(text) for text in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"))
"""Within the public network: special purposes with Teredo, documentation, and 6to4."""
_TRANSLATED = (IPv6Network("64:ff9b::/96"), IPv6Network("::ffff:0:0/96"))
"""The last 32 bits are an IPv4 address, to which such a packet goes: NAT64, and IPv4-mapped."""


@dataclass(frozen=True, slots=True)
class AllowedAddresses:
    """Public addresses, and these networks. Without TLS, these networks alone."""

    networks: tuple[Network, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """The networks and addresses of a text, divided by commas. Raises ``ValueError``."""
        parts = (part.strip() for part in text.split(","))
        return cls(tuple(ipaddress.ip_network(part) for part in parts if part))

    def may_connect(self, address: str, *, is_encrypted: bool) -> bool:
        """Whether a connection to this address may be opened. Anything but an address may not."""
        try:
            parsed = _parsed(address)
        except ValueError:
            return False
        if any(parsed.version == network.version and parsed in network for network in self.networks):
            return True
        return is_encrypted and _is_public(parsed)


def _parsed(address: str) -> Address:
    """The address that a packet to ``address`` reaches. Raises ``ValueError``."""
    # An address with a zone is on a link of this machine; its zone would hide which one it is.
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, IPv6Address) and any(parsed in network for network in _TRANSLATED):
        return IPv4Address(int(parsed) & 0xFFFFFFFF)
    return parsed


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC_V4)
    return address in _PUBLIC_V6 and not any(address in network for network in _NOT_PUBLIC_V6)
