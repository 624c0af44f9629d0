"""The bench's programs in C, compiled where there is a compiler."""

from __future__ import annotations

import shutil
import subprocess
from functools import cache
from pathlib import Path

_SOURCES = Path(__file__).parent


@cache
def program(name: str) -> Path | None:
    """The program, compiled into ``build/`` if it is not newer than its source; None without a compiler that can."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    made = _SOURCES.parent / "build" / name
    source = _SOURCES / f"{name}.c"
    sources = [source, *_SOURCES.glob("*.h")]
    if not made.exists() or made.stat().st_mtime < max(source.stat().st_mtime for source in sources):
        made.parent.mkdir(exist_ok=True)
        built = subprocess.run([compiler, "-O2", "-o", str(made), str(source)], check=False)
        if built.returncode:
            return None
    return made
