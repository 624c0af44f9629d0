"""What Redis held after each of the last steps, to go back to, as after a crash that cost the last second."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Sequence
from typing import Any

from spool.redis.link import RedisLink
from tests.job_model.ledger import Ledger

STEPS = 3
"""How many steps may be lost."""


class History:
    """The last states of one Redis, and the ledgers that go with them."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link
        self._states: deque[tuple[list[tuple[bytes, int, bytes]], Ledger]] = deque(maxlen=STEPS + 1)
        self._rewinds = 0

    def note(self, ledger: Ledger) -> None:
        """Another step is done."""
        keys: list[bytes] = self._link.call("KEYS", "*")
        found = self._link.pipeline([(name, key) for key in keys for name in ("PTTL", "DUMP")])
        rows = [
            (key, max(0, ttl), dump)
            for key, ttl, dump in zip(keys, found[::2], found[1::2], strict=True)
            if dump is not None
        ]
        self._states.append((rows, copy.deepcopy(ledger)))

    def forget(self) -> None:
        """What was before can no longer be lost."""
        self._states.clear()

    def __len__(self) -> int:
        return len(self._states)

    def ledger(self, steps: int) -> Ledger:
        """As it was so many steps ago."""
        return self._states[max(0, len(self._states) - 1 - steps)][1]

    def rewind(self, steps: int) -> Ledger:
        """Redis comes back as it was so many steps ago; the ledger of then. Its own run id is what a script can ask
        for, and cannot be changed: so what is left of the history is given to another run instead."""
        for _ in range(min(steps, len(self._states) - 1)):
            self._states.pop()
        rows, ledger = self._states.pop()
        self._link.call("FLUSHALL")
        self._link.pipeline([("RESTORE", key, ttl, dump) for key, ttl, dump in rows])
        self._rewinds += 1
        self._call_it_another_run([key for key, _ttl, _dump in rows])
        for job in ledger.jobs.values():
            job.suspect = True
        return ledger

    def _call_it_another_run(self, keys: Sequence[bytes]) -> None:
        name = f"earlier-run-{self._rewinds}"
        changes: list[tuple[Any, ...]] = [
            ("HSET", key, "server", name) for key in keys if b":job:" in key and key.count(b":") == 3
        ]
        changes += [("HSET", key, "run_id", name) for key in keys if key.endswith((b":server", b":keeper"))]
        self._link.pipeline_each(changes)
