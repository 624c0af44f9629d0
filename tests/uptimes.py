"""The tests with another uptime, and beside a busy loop on each core: nothing may depend on either.

``python -m tests.uptimes --at 1,450 [pytest's arguments]`` runs pytest once for each uptime, with the monotonic clock
of every process shifted so that it begins there (``monotonic_clock.c``), and once more beside the busy loops. The exit
status is 1 if any of the runs failed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

SOURCE = Path(__file__).with_name("monotonic_clock.c")
UPTIMES_S = "1,450,1e5,1e9"
_BUSY_LOOP = "while True: pass"


def build_shim(directory: Path) -> Path:
    """The shared library that shifts the clock. ``FileNotFoundError`` without a C compiler."""
    path = directory / "monotonic_clock.so"
    compiler = shutil.which("cc")
    if compiler is None:
        raise FileNotFoundError("no C compiler (cc) to build tests/monotonic_clock.c with")
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", str(path), str(SOURCE), "-ldl"], check=True)
    return path


def shifted(shim: Path, uptime_s: float) -> dict[str, str]:
    """The environment of a run whose monotonic clock shows ``uptime_s`` now."""
    shift_ns = round(uptime_s * 1e9) - time.monotonic_ns()
    return {"LD_PRELOAD": str(shim), "MONOTONIC_SHIFT_NS": str(shift_ns)}


@contextmanager
def busy_loops(count: int) -> Iterator[None]:
    """So many processes that use a core each."""
    loops = [subprocess.Popen([sys.executable, "-c", _BUSY_LOOP]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def run_pytest(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """pytest's exit status."""
    return subprocess.run(
        [sys.executable, "-m", "pytest", *arguments], env={**os.environ, **environment}, check=False
    ).returncode


def main(argv: Sequence[str] | None = None) -> int:
    """One run after the other; 0 if all of them passed."""
    parser = argparse.ArgumentParser(prog="python -m tests.uptimes", allow_abbrev=False)
    parser.add_argument("--at", default=UPTIMES_S, help="uptimes in seconds, with commas between them; may be empty")
    parser.add_argument("--busy", type=int, default=0, help="busy loops beside the last run; 0: no such run")
    options, arguments = parser.parse_known_args(argv)
    build = SOURCE.parent.parent / "build"
    build.mkdir(exist_ok=True)
    statuses: dict[str, int] = {}
    uptimes = [float(text) for text in options.at.split(",") if text]
    for uptime_s in uptimes:
        statuses[f"uptime {uptime_s:g} s"] = run_pytest(arguments, shifted(build_shim(build), uptime_s))
    if options.busy:
        with busy_loops(options.busy):
            statuses[f"{options.busy} busy loops"] = run_pytest(arguments, {})
    for name, status in statuses.items():
        print(f"{name}: {'passed' if status == 0 else f'FAILED, exit status {status}'}")
    return int(any(statuses.values()))


if __name__ == "__main__":
    sys.exit(main())
