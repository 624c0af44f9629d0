"""URLs of receivers."""

from __future__ import annotations

import pytest

from spool.webhooks.target import Target


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://example.com", Target(True, "example.com", 443, "/")),
        ("https://example.com:8443/a/b?c=d", Target(True, "example.com", 8443, "/a/b?c=d")),
        ("http://[::1]:80/x", Target(False, "::1", 80, "/x")),
    ],
)
def test_parts_of_a_url(url: str, expected: Target) -> None:
    """A URL has its parts, with the scheme's port by default."""
    assert Target.parse(url) == expected


@pytest.mark.parametrize(
    "url",
    [
        *("", "example.com", "ftp://example.com", "https://", "https://:443/", "https://example.com:0/"),
        *("https://example.com:99999/", "https://u:p@example.com/", "https://example.com/#x", "https://example.com/ x"),
        *("https://example.com/\r\nX: y", "https://exämple.com/", "https://[::1", "https://x/" + "a" * 2048),
    ],
    ids=range(14),
)
def test_url_that_cannot_be_a_receiver(url: str) -> None:
    """Other schemes, credentials, fragments, control characters and long URLs are refused."""
    with pytest.raises(ValueError, match=r"^must "):
        Target.parse(url)


def test_host_header_and_lane() -> None:
    """The port is in the Host header unless it is the usual one; a lane has one owner, host and port."""
    one, other = Target.parse("https://[::1]:443/a"), Target.parse("https://[::1]:8443/b")
    assert (one.host_header, other.host_header) == ("[::1]", "[::1]:8443")
    assert one.lane_of("alice") == Target.parse("https://[::1]/c").lane_of("alice")
    assert len({one.lane_of("alice"), other.lane_of("alice"), one.lane_of("bob")}) == 3
