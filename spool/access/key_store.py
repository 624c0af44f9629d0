"""Keys in Redis, as command line, admin API and webs read and write them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib import resources
from typing import Any

from spool.access.keys import Key, is_key_id, new_key, parse_shown
from spool.access.limits import KeyLimits
from spool.access.static_keys import digest_of
from spool.errors import KeyNotFound, TooManyKeys, UndecodableRecord
from spool.keys import HOME, prefix
from spool.redis.errors import unless_refused
from spool.redis.link import RedisLink
from spool.redis.script import Script

KEYS_AT_MOST = 100_000
_AT_ONCE = 500
_VERSION = f"{prefix(HOME)}keys-version"
_ALL = f"{prefix(HOME)}keys"


def _script(name: str) -> Script:
    return Script.of(name, (resources.files("spool.access") / f"{name}.lua").read_text(encoding="utf-8"))


_WRITE = _script("write_key")
_NOTE_USED = _script("note_used")


def key_of(key_id: str) -> str:
    """The Redis key of a key's record."""
    return f"{prefix(HOME)}key:{key_id}"


class KeyStore:
    """The keys of an installation. Every call may raise ``StoreUnavailable``."""

    def __init__(self, link: RedisLink, clock: Callable[[], float] = time.time) -> None:
        self._link = link
        self._clock = clock

    def create(self, draft: Key) -> tuple[Key, str]:
        """Write a new key with the values of ``draft``. Returns its record, and the key itself, which cannot be shown
        again. Raises ``TooManyKeys``."""
        key_id, shown = new_key()
        parts = parse_shown(shown.encode())
        assert parts is not None  # noqa: S101 - new_key makes this form
        key = replace(draft, id=key_id, digest=digest_of(parts.secret), created_ms=self._now_ms())
        if self._write(key_id, KEYS_AT_MOST, key.encode()) == b"full":
            # Keys that ended long ago have expired; their names may still count.
            self.all()
            if self._write(key_id, KEYS_AT_MOST, key.encode()) == b"full":
                raise TooManyKeys(KEYS_AT_MOST)
        return key, shown

    def get(self, key_id: str) -> Key:
        """A key. Raises ``KeyNotFound``, ``UndecodableRecord``."""
        reply = self._link.call("HGETALL", key_of(key_id)) if is_key_id(key_id) else []
        if not reply:
            raise KeyNotFound(key_id)
        return Key.decode(reply)

    def all(self, owner: str = "") -> list[Key]:
        """All keys, or those of an owner, oldest first. Damaged records are left out."""
        ids = [raw.decode(errors="replace") for raw in self._link.call("ZRANGE", _ALL, 0, -1)]
        found: list[Key] = []
        for start in range(0, len(ids), _AT_ONCE):
            some = ids[start : start + _AT_ONCE]
            replies = self._link.pipeline([("HGETALL", key_of(key_id)) for key_id in some])
            if missing := [key_id for key_id, reply in zip(some, replies, strict=True) if not reply]:
                with unless_refused():
                    self._link.call("ZREM", _ALL, *missing)
            found += [key for reply in replies if reply and (key := _decoded(reply))]
        return [key for key in found if not owner or key.owner == owner]

    def revoke(self, key_id: str) -> Key:
        """Revoke a key; again does nothing. Raises as ``get`` does."""
        key = self.get(key_id)
        if not key.revoked_ms:
            self._write(key_id, 0, {"revoked_ms": self._now_ms()})
        return self.get(key_id)

    def limit(self, key_id: str, limits: KeyLimits) -> Key:
        """Replace the limits of a key. Raises as ``get`` does."""
        if not is_key_id(key_id) or self._write(key_id, 0, {"limits": limits.encode()}) == b"missing":
            raise KeyNotFound(key_id)
        return self.get(key_id)

    def note_used(self, used_ms: Mapping[str, int]) -> None:
        """Write when keys were last used."""
        pairs = [value for pair in used_ms.items() for value in pair]
        if pairs:
            self._link.run(_NOTE_USED, HOME, *pairs)

    def version(self) -> bytes:
        """It differs after a change of any key."""
        return self._link.call("GET", _VERSION) or b""

    def read(self, key_ids: Sequence[str]) -> tuple[bytes, list[Key | None]]:
        """The version, and these keys, at least as new as it is; None for each that is missing or damaged."""
        version, *replies = self._link.pipeline([("GET", _VERSION), *(("HGETALL", key_of(each)) for each in key_ids)])
        return version or b"", [_decoded(reply) if reply else None for reply in replies]

    def _write(self, key_id: str, most: int, values: Mapping[str, Any]) -> bytes:
        pairs = [value for pair in values.items() for value in pair]
        outcome: bytes = self._link.run(_WRITE, HOME, key_id, most, *pairs)
        return outcome

    def _now_ms(self) -> int:
        return int(self._clock() * 1000)


def _decoded(reply: Sequence[bytes]) -> Key | None:
    try:
        return Key.decode(reply)
    except UndecodableRecord:
        return None
