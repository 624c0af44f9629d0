"""Put on the path of a web process under test: it writes down each long stretch in which one greenlet computed.

What counts is the CPU time of the hub's thread between two switches, which a busy machine does not lengthen much.
Python imports this file by itself at start. Nothing of Spool is imported here, and without ``STRETCHES_FILE`` nothing
is done.
"""

from __future__ import annotations

import os
import time
from typing import Any

_WORTH_S = 0.01


def watch(path: str) -> None:
    """Append ``PID SECONDS`` to the file for each stretch of this thread that is worth a line."""
    import greenlet

    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    began = time.thread_time()

    def on_switch(*_: Any) -> None:
        nonlocal began
        now = time.thread_time()
        if now - began > _WORTH_S:
            os.write(file, b"%d %.4f\n" % (os.getpid(), now - began))
            now = time.thread_time()
        began = now

    greenlet.settrace(on_switch)


if "STRETCHES_FILE" in os.environ:
    watch(os.environ["STRETCHES_FILE"])
