"""The shares of the two classes: what batch jobs leave free for interactive ones, and what interactive jobs leave to
batch ones (docs/queue.md)."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ClassShares:
    """``reserve`` is the part of each model's limit and of each worker's slots that batch jobs leave free. ``batch`` is
    the part of claims that batch jobs get at least, while they wait; 0: none."""

    reserve: float = 0.2
    batch: float = 0.05

    @property
    def batch_every(self) -> int:
        """Batch jobs that wait get at least one claim in this many; 0: none."""
        return round(1 / self.batch) if self.batch else 0

    def batch_slots(self, slots: int) -> int:
        """How many of these slots batch jobs may use: at least one."""
        # The subtraction keeps 0.2 of 5 at one slot, whatever the rounding of the product.
        return max(1, slots - math.ceil(slots * self.reserve - 1e-9))


class BatchSlots:
    """The slots of a worker that batch jobs use: one for each that runs, and one for each claim that may bring one."""

    def __init__(self, most: int | None = None) -> None:
        self.running = 0
        self.claiming = 0
        self._most = most
        """None: as many as there are."""

    @property
    def has_room(self) -> bool:
        """Whether one more batch job leaves the reserve of slots free."""
        return self._most is None or self.running + self.claiming < self._most
