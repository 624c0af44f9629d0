"""How late tokens arrive: the demo's ``stamp`` writes into each of them when it was due."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable

from bench.percentile import percentile as percentile
from tests.faults.following import Following


def latencies_ms(followings: Iterable[Following], since: float, until: float) -> list[float]:
    """Of each token that arrived between two moments (monotonic): milliseconds from when it was due."""
    epoch = time.time() - time.monotonic()
    found = []
    for one in followings:
        for at, raw in zip(one.times, one.raw, strict=False):
            if since <= at < until and b'"kind":"token"' in raw[:40]:
                found.append((at + epoch) * 1000 - int(json.loads(raw)["text"]) / 1000)
    return found
