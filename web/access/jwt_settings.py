"""What ``web.access.jwts`` needs to know, and what it raises."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

UNKNOWN_KEY_AFTER_S = 10.0
"""The least time between two loads because a token names an unknown key: anybody can name one."""


@dataclass(frozen=True, slots=True)
class JwtSettings:
    """Where the key set is (a URL or a file), and what a token must say. An empty ``issuer`` or ``audience`` is not
    checked."""

    url: str
    path: Path | None
    issuer: str
    audience: str
    owner_claim: str
    scope_claim: str


class NoKeySet(Exception):
    """No key set has been loaded yet, so no token can be checked."""

    retry_after_s = UNKNOWN_KEY_AFTER_S
