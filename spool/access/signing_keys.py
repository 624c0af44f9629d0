"""The keys that sign links, browser tokens and sessions: ``SPOOL_SECRET``, or made once and kept in Redis."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

import orjson

from spool.keys import HOME, prefix
from spool.redis.link import RedisLink

SECRET_LENGTH = 32
"""The least characters of a secret."""
_SIGNING = f"{prefix(HOME)}signing-keys"
_VERSION = f"{prefix(HOME)}keys-version"
_KEPT = 2
"""After a rotation, what the key before has signed stays valid until the next one."""


def parse_secrets(text: str) -> tuple[str, ...]:
    """The secrets of ``SPOOL_SECRET``, newest first, divided by commas. Raises ``ValueError``, which contains none."""
    found = tuple(part.strip() for part in text.split(",") if part.strip())
    if any(len(part) < SECRET_LENGTH for part in found):
        raise ValueError(f"a secret must have at least {SECRET_LENGTH} characters")
    return found


class SigningKeys:
    """The signing keys in Redis, newest first. Every call may raise ``StoreUnavailable``."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link

    def load(self) -> tuple[str, ...]:
        """The keys; the first call of an installation makes one."""
        stored = self._link.call("GET", _SIGNING)
        if stored is None:
            self._link.call("SET", _SIGNING, orjson.dumps([_new()]), "NX")
            stored = self._link.call("GET", _SIGNING)
        return tuple(orjson.loads(stored)) if stored else ()

    def rotate(self, *, drops_old: bool = False) -> None:
        """Sign with a new key from now on. ``drops_old``: what was signed before becomes invalid at once."""
        before: Sequence[str] = () if drops_old else self.load()
        self._link.pipeline(
            [("SET", _SIGNING, orjson.dumps([_new(), *before][:_KEPT])), ("INCR", _VERSION)],
        )


def _new() -> str:
    return secrets.token_urlsafe(48)
