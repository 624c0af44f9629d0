"""Texts that a client keeps and returns: sealed, so that only Spool makes them, and each only for one owner.

A seal is a signature, not encryption: the client has seen the text. The key belongs to the installation and is in
Redis (``sealing-key``), so a seal of any web process is valid at any other.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets

from spool.keys import HOME, prefix
from spool.redis.link import RedisLink

_KEY = f"{prefix(HOME)}sealing-key"
_MARK = "spool1."
_MAC_BYTES = 16


class Sealing:
    """The seals of one installation. The key is read at first use."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link
        self._key = b""

    def load(self) -> Sealing:
        """Read the key, or make it. Raises ``StoreUnavailable``."""
        if not self._key:
            # First a read: Redis refuses a write that would change nothing, too.
            self._key = self._link.call("GET", _KEY) or self._made()
        return self

    def _made(self) -> bytes:
        self._link.call("SET", _KEY, secrets.token_hex(32), "NX")
        key: bytes = self._link.call("GET", _KEY)
        return key

    def seal(self, owner: str, text: str) -> str:
        """The sealed text. Call ``load`` first."""
        data = text.encode()
        return _MARK + base64.urlsafe_b64encode(self._mac(owner, data) + data).decode()

    def open(self, owner: str, sealed: str) -> str | None:
        """The text; None if it was not sealed here for this owner. Call ``load`` first."""
        if not sealed.startswith(_MARK):
            return None
        try:
            raw = base64.urlsafe_b64decode(sealed[len(_MARK) :])
        except (binascii.Error, ValueError):
            return None
        mac, data = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
        return data.decode() if hmac.compare_digest(mac, self._mac(owner, data)) else None

    def _mac(self, owner: str, data: bytes) -> bytes:
        return hmac.digest(self._key, owner.encode() + b"\0" + data, "sha256")[:_MAC_BYTES]
