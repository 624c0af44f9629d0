"""Which API keys are accepted. Refusals are tested with the settings."""

from __future__ import annotations

from spool.api_keys import parse_api_keys


def test_api_keys_with_spaces_and_an_equals_sign_are_read() -> None:
    """Only the first ``=`` divides; space around pairs does not count."""
    keys = parse_api_keys(" alice=abc=defgh , team-b.x_1=12345678,")
    assert keys == {"abc=defgh": "alice", "12345678": "team-b.x_1"}
