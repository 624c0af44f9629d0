"""How long calls pause after an upstream's refusals."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """The backoff, in seconds. A call that has no answer after ``patience_s`` no longer blocks others."""

    first_s: float = 1.0
    most_s: float = 60.0
    suspected_part: float = 0.125
    suspected_most_s: float = 5.0
    """Factor for pauses after failures that single prompts may have caused, up to ``suspected_most_s``: jobs that would
    succeed wait too."""
    retry_after_most_s: float = 300.0
    patience_s: float = 5.0

    def delay_s(self, refusals: int, retry_after_s: float | None = None) -> float:
        """The wait after ``refusals`` refusals in a row; ``retry_after_s`` is the upstream's request."""
        if retry_after_s is not None:
            asked_s = min(retry_after_s, self.retry_after_most_s)
            return max(self.first_s, asked_s) * random.uniform(1.0, 1.1)
        return min(self.most_s, self.first_s * 2.0 ** min(refusals - 1, 30)) * random.uniform(0.5, 1.0)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the gate is closed, and until when (monotonic). ``suspected``: closed because calls failed."""

    reason: str
    until: float
    suspected: bool = False

    @property
    def left_s(self) -> float:
        """Seconds until the next try; 0 if others are trying already."""
        return max(0.0, self.until - time.monotonic())
