"""Which addresses webhooks may go to."""

from __future__ import annotations

import pytest

from spool.webhooks.addresses import AllowedAddresses

FORBIDDEN = (
    *(
        "127.0.0.1",
        "127.8.8.8",
        "0.0.0.0",
        "10.1.2.3",
        "172.31.255.255",
        "192.168.0.1",
        "169.254.169.254",
        "168.63.129.16",
    ),
    *("100.64.0.1", "192.0.0.8", "198.18.0.1", "203.0.113.9", "224.0.0.1", "240.0.0.1", "255.255.255.255"),
    *("::", "::1", "fe80::1", "fe80::1%eth0", "fec0::1", "fc00::1", "fd00:ec2::254", "ff02::1", "2001:db8::1"),
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "::127.0.0.1"),
    *("2002:7f00:1::", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "100::1", "2130706433", "0x7f.1", "", "localhost"),
)
PUBLIC = ("1.1.1.1", "93.184.215.14", "2606:4700:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101")


@pytest.mark.parametrize("address", FORBIDDEN)
def test_address_that_is_not_public_is_forbidden(address: str) -> None:
    """Private, local, reserved and embedded addresses are forbidden, and so is what is no address."""
    assert not AllowedAddresses().may_connect(address, is_encrypted=True)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_address_needs_tls(address: str) -> None:
    """A public address is allowed, but only with TLS."""
    assert AllowedAddresses().may_connect(address, is_encrypted=True)
    assert not AllowedAddresses().may_connect(address, is_encrypted=False)


def test_operator_allows_networks() -> None:
    """What the operator allows is allowed with and without TLS, in each of its forms, and nothing beside it."""
    allowed = AllowedAddresses.parse("10.0.0.0/24, ::1")
    for address in ("10.0.0.9", "::ffff:10.0.0.9", "::1"):
        assert allowed.may_connect(address, is_encrypted=False)
    assert not allowed.may_connect("10.0.1.9", is_encrypted=True)
    assert not allowed.may_connect("::2", is_encrypted=True)


@pytest.mark.parametrize("text", ["localhost", "10.0.0.1/8", "10.0.0.0/99"])
def test_setting_that_is_no_network_is_refused(text: str) -> None:
    """Anything but a network is a ValueError."""
    with pytest.raises(ValueError, match=text.partition("/")[0]):
        AllowedAddresses.parse(text)
