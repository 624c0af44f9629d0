"""The library that shifts the monotonic clock: all that waits in a process waits as long as ever."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.stack import ROOT
from tests.uptimes import build_shim, shifted

WAITS = """
import queue, sys, threading, time
import gevent
from worker.timer import PreciseTimer

UPTIME_S, SHORT_S = float(sys.argv[1]), 0.05
held, condition = threading.Lock(), threading.Condition()
held.acquire()

def wait_for_condition():
    with condition:
        condition.wait(SHORT_S)

for wait in (
    lambda: time.sleep(SHORT_S),
    lambda: held.acquire(timeout=SHORT_S),
    wait_for_condition,
    lambda: gevent.sleep(SHORT_S),
    lambda: PreciseTimer().wait_until(time.monotonic() + SHORT_S),
):
    assert time.monotonic() >= UPTIME_S
    assert time.clock_gettime(time.CLOCK_BOOTTIME) >= UPTIME_S
    began, began_true = time.monotonic(), open("/proc/uptime").read().split()[0]
    wait()
    # libev's timers, and the file, count in hundredths.
    assert time.monotonic() - began >= 0.04
    assert float(open("/proc/uptime").read().split()[0]) - float(began_true) >= 0.03
"""


@pytest.mark.skipif(not sys.platform.startswith("linux") or shutil.which("cc") is None, reason="a C compiler, on Linux")
@pytest.mark.parametrize("uptime_s", [1, 1e9])
def test_waits_at_another_uptime(tmp_path: Path, uptime_s: float) -> None:
    """The clock begins where it is asked to, and no wait becomes shorter or endless."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **shifted(build_shim(tmp_path), uptime_s)}
    command = [sys.executable, "-c", WAITS, str(uptime_s)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
