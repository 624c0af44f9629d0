"""Failed logins by address, counted in Redis for all processes."""

from __future__ import annotations

from importlib import resources

from spool.keys import HOME
from spool.redis.link import RedisLink
from spool.redis.script import Script

WINDOW_S = 60
ADDRESSES_AT_MOST = 10_000
_SCRIPT = Script.of("note_failure", (resources.files("spool.access") / "note_failure.lua").read_text(encoding="utf-8"))


class FailureCounts:
    """The failures of the current minute, which is the same for all addresses. At most 10,000 addresses are counted."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link

    def note(self, address: str) -> tuple[int, float]:
        """Count a failure. Returns the address's failures, 0 if it cannot be counted, and the seconds until the minute
        is over. Raises ``StoreUnavailable``."""
        failures, left_ms = self._link.run(_SCRIPT, HOME, address, WINDOW_S * 1000, ADDRESSES_AT_MOST)
        return int(failures), max(0, int(left_ms)) / 1000
