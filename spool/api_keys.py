"""Parses API keys: ``owner=secret,…``, the value of ``SPOOL_API_KEYS``."""

from __future__ import annotations


def parse_api_keys(text: str) -> dict[str, str]:
    """Secret → owner. Raises ``ValueError``, which contains no secret."""
    owners: dict[str, str] = {}
    for number, pair in enumerate(filter(None, (p.strip() for p in text.split(","))), 1):
        owner, equals, secret = pair.partition("=")
        if not equals or not owner or len(secret) < 8:
            raise ValueError(f"pair {number} is not owner=secret with a secret of at least 8 characters")
        if not all(" " <= character <= "~" for character in secret):
            raise ValueError(f"pair {number}: a secret must be printable ASCII, because it is sent in a header")
        if not owner.replace("-", "").replace("_", "").replace(".", "").isalnum() or len(owner) > 64:
            raise ValueError(f"pair {number}: an owner must be 1 to 64 letters, digits, '-', '_' or '.'")
        if secret in owners:
            raise ValueError(f"pair {number}: duplicate secret")
        owners[secret] = owner
    return owners
