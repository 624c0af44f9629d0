"""The keys of Redis that this process has seen: an authenticated request costs no round trip.

Once a second ``look`` reads the version of all keys, and after a change the cached ones again.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from spool.access.caller import Caller
from spool.access.key_store import KeyStore
from spool.access.keys import Key, parse_shown

CACHED_AT_MOST = 10_000
_READ_AT_ONCE = 500
_NOTED_EVERY_S = 10.0


@dataclass(frozen=True, slots=True)
class _Cached:
    """A key, or that there is none, as of a version of all keys."""

    version: bytes
    key: Key | None
    caller: Caller | None


class KeyTable:
    """Callers by the keys that they show. ``clock`` is the time since the epoch."""

    def __init__(self, store: KeyStore, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock
        self._cached: OrderedDict[str, _Cached] = OrderedDict()
        self._used_ms: dict[str, int] = {}
        self._noted_at = clock()
        self.version = b""
        """The version of all keys at the last look."""

    def caller(self, shown: bytes) -> Caller | None:
        """The caller that shows this key; None if it is not valid. Reads Redis for a key that is not cached. Raises
        ``StoreUnavailable``."""
        parts = parse_shown(shown)
        if parts is None:
            return None
        cached = self._find(parts.id)
        if cached.key is None or not cached.key.has_secret(parts.secret):
            return None
        now_ms = int(self._clock() * 1000)
        if not cached.key.is_valid(now_ms):
            return None
        self._used_ms[parts.id] = now_ms
        return cached.caller

    def knows(self, shown: bytes) -> bool:
        """Whether the key with the id of this one is cached."""
        parts = parse_shown(shown)
        return parts is not None and parts.id in self._cached

    def current(self, key_id: str) -> Caller | None:
        """The caller of this key as it is now; None if it is not valid. Raises ``StoreUnavailable``."""
        cached = self._find(key_id)
        return cached.caller if cached.key and cached.key.is_valid(int(self._clock() * 1000)) else None

    def look(self) -> None:
        """Take over changes, and write when keys were last used. Raises ``StoreUnavailable``."""
        version = self._store.version()
        self.version = version
        for key_id in [key_id for key_id, cached in self._cached.items() if cached.key is None]:
            # A key that was not there may be created at any time, and must not fill the cache.
            del self._cached[key_id]
        stale = [key_id for key_id, cached in self._cached.items() if cached.version != version]
        for start in range(0, len(stale), _READ_AT_ONCE):
            self._read(stale[start : start + _READ_AT_ONCE])
        if self._used_ms and self._clock() >= self._noted_at + _NOTED_EVERY_S:
            used_ms, self._used_ms, self._noted_at = self._used_ms, {}, self._clock()
            self._store.note_used(used_ms)

    def _find(self, key_id: str) -> _Cached:
        cached = self._cached.get(key_id)
        if cached is None:
            self._read([key_id])
            cached = self._cached[key_id]
        else:
            self._cached.move_to_end(key_id)
        return cached

    def _read(self, key_ids: list[str]) -> None:
        version, found = self._store.read(key_ids)
        for key_id, key in zip(key_ids, found, strict=True):
            self._cached[key_id] = _Cached(version, key, key.caller() if key else None)
        while len(self._cached) > CACHED_AT_MOST:
            self._cached.popitem(last=False)
