"""Put on the path of a process that a test watches: it makes the process write down what it holds, on a signal.

Python imports this file by itself at start. Nothing of Spool is imported here, and without ``PROBE_DIR`` nothing is
done.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
from collections import Counter
from typing import Any

NUMBER = signal.SIGRTMIN + 5
_WATCHED = ("Reader", "Feed", "AttemptLog", "Attempt", "LiveStream", "PeerWatch", "Subscription")


def write(*_: Any) -> None:
    """Write ``PROBE_DIR/PID.json``: living greenlets, and objects of the classes that hold something."""
    # What only waits for the collector is not held; an idle process does not collect by itself.
    gc.collect()
    counts: Counter[str] = Counter()
    greenlet = sys.modules.get("greenlet")
    for one in gc.get_objects():
        name = type(one).__name__
        if name in _WATCHED and type(one).__module__.partition(".")[0] in ("spool", "web", "worker"):
            counts[f"{name} objects"] += 1
        elif greenlet is not None and isinstance(one, greenlet.greenlet) and bool(one):
            counts["greenlets"] += 1
    path = f"{os.environ['PROBE_DIR']}/{os.getpid()}.json"
    with open(path + ".new", "w", encoding="ascii") as file:  # noqa: PTH123 - pathlib may not be imported yet
        json.dump(counts, file)
    os.rename(path + ".new", path)  # noqa: PTH104


if "PROBE_DIR" in os.environ:
    signal.signal(NUMBER, write)
