"""What a Redis holds, to go back to."""

from __future__ import annotations

from spool.redis.link import RedisLink
from tests.by_hand import restart


class Saved:
    """All keys as they are now, to go back to."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link
        self._keys: dict[bytes, tuple[bytes, int]] = {
            key: (link.call("DUMP", key), link.call("PTTL", key)) for key in link.call("KEYS", "*")
        }

    def restore(self) -> None:
        """Redis was restarted, and has only this."""
        self._link.call("FLUSHALL")
        for key, (value, ttl_ms) in self._keys.items():
            self._link.call("RESTORE", key, max(0, ttl_ms), value)
        restart(self._link)
