"""Runs the scripts of ``node/``: clients for Node that exist, unmodified, against a running Spool.

Their packages come by ``npm install`` in that directory, pinned by its ``package.json``. Without Node such tests are
skipped; without the packages as well, but in CI they fail.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import orjson
import pytest

DIRECTORY = Path(__file__).parent / "node"
INSTALL = f"npm install --prefix {DIRECTORY} --no-package-lock --ignore-scripts --legacy-peer-deps --no-audit --no-fund"
_MAJOR = 20


def run_node(script: str, *args: str, timeout_s: float = 110) -> Any:
    """What the script printed, as data. Skips the test where there is nothing to run it with; fails if it fails, or
    takes longer than ``timeout_s``."""
    node = _node_with_packages(script)
    try:
        done = subprocess.run([node, script, *args], cwd=DIRECTORY, capture_output=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired as exc:
        raise AssertionError(f"{script} {args} did not end within {timeout_s:g} s: {exc.stderr!r}") from exc
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return orjson.loads(done.stdout)


def _node_with_packages(script: str) -> str:
    node = shutil.which("node")
    if node is None:
        pytest.skip("there is no node on PATH")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=20, check=True).stdout
    if int(version.removeprefix("v").partition(".")[0]) < _MAJOR:
        pytest.skip(f"node is {version.strip()}; these packages are tested with {_MAJOR} or newer")
    if lacking := [name for name in _packages_of(script) if not (DIRECTORY / "node_modules" / name).is_dir()]:
        missing = pytest.fail if os.environ.get("CI") else pytest.skip
        missing(f"packages are missing ({', '.join(lacking)}): {INSTALL}")
    return node


def _packages_of(script: str) -> set[str]:
    """The packages that the script imports, and those that the scripts beside it import for it."""
    text = (DIRECTORY / script).read_text(encoding="utf-8")
    names = set(re.findall(r"""^import .* from ["']([^"']+)["'];$""", text, re.MULTILINE))
    own = {name for name in names if name.startswith("./")}
    packages = {"/".join(name.split("/")[: 2 if name.startswith("@") else 1]) for name in names - own}
    return {name for name in packages if not name.startswith("node:")}.union(*map(_packages_of, own))
