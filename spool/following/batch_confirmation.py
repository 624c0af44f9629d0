"""Confirmation of batches' logs: after a restart of Redis, a web reports what it has read of them.

Only webs show batches' logs, so a log goes on under the next ids if every web of before the restart has reported, and
none has read more than Redis has. Otherwise it jumps (lib/batch_log.lua).
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Mapping

from spool.errors import StoreUnavailable
from spool.ids import shard_of
from spool.jobs.scripts import arguments, script
from spool.jobs.shards import Shard, Shards
from spool.outage import Outage

log = logging.getLogger("spool.batches")

BEAT_S = 1.0
_LIFE_MS = 15_000
"""How long a web that does not answer counts as one that may have read what Redis has lost: a restart loses seconds."""
_SETTLE_S = 0.2
_BATCHES_A_CALL = 500


class BatchConfirmation:
    """The reports of one process. ``seen``: the newest entry that it has read of each batch. ``disconnect`` drops what
    comes by connections from before a restart, so that nothing of it is read after the report."""

    def __init__(self, shards: Shards, seen: Callable[[], Mapping[str, int]], disconnect: Callable[[], None]) -> None:
        self._shards = shards
        self._seen = seen
        self._disconnect = disconnect
        self._name = secrets.token_hex(8)
        self._runs: dict[int, str] = {}
        self._outage = Outage(log, "batches", "logs of batches may jump after a restart of Redis")

    def run(self, wait: Callable[[float], object], stopped: Callable[[], bool]) -> None:
        """Report until ``stopped``; ``wait`` sleeps. Logs Redis errors and continues."""
        while not stopped():
            try:
                self.beat(wait)
                self._outage.worked()
            except StoreUnavailable as exc:
                self._outage.failed(exc)
            wait(BEAT_S)

    def beat(self, wait: Callable[[float], object]) -> None:
        """Register this process, and report to shards that have restarted. Raises ``StoreUnavailable``."""
        asking = [shard for shard in self._shards if self._call(shard)]
        if not asking:
            return
        self._disconnect()
        # Replies that were on their way are read meanwhile.
        wait(_SETTLE_S)
        seen = self._seen()
        for shard in asking:
            own = [pair for pair in seen.items() if shard_of(pair[0]) == shard.number]
            for at in range(0, len(own), _BATCHES_A_CALL):
                self._call(shard, [value for pair in own[at : at + _BATCHES_A_CALL] for value in pair])
            self._call(shard, is_all=True)

    def _call(self, shard: Shard, seen: list[str | int] | None = None, *, is_all: bool = False) -> bool:
        """One call of the script; returns whether this process is to report."""
        args = arguments(
            "confirm_batches",
            seen or (),
            web=self._name,
            known_run=self._runs.get(shard.number, ""),
            life_ms=_LIFE_MS,
            is_all=int(is_all),
        )
        run_id, is_asked = shard.run(script("confirm_batches"), *args)
        self._runs[shard.number] = run_id.decode()
        return bool(is_asked)
