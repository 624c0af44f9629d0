"""Programs whose wall clock is off."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def shim_in(directory: Path) -> Path:
    """The library, built there, that shifts the clock of a process which is started with it."""
    compiler = shutil.which("cc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("needs a C compiler, on Linux")
    path = directory / "shifted_clock.so"
    source = Path(__file__).with_name("shifted_clock.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(path), str(source), "-ldl"], check=True)
    return path


def shifted(shim: Path, seconds: int) -> dict[str, str]:
    """What the environment of such a process has on top."""
    return {"LD_PRELOAD": str(shim), "SHIFT_S": str(seconds)}
