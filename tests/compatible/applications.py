"""Applications in Python that have an environment of their own, ``.venv-clients``."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.stack import ROOT

INSTALLED = ROOT / ".venv-clients" / "installed"
PYTHON = ROOT / ".venv-clients" / "bin" / "python"
SITE = ROOT / ".venv-clients" / "lib"


def run(*arguments: str | Path, needs: str = "", **env: str) -> subprocess.CompletedProcess[str]:
    """Run a program in .venv-clients to its end, and fail with its output if that is not a success. ``needs``: a
    package, without which the test is skipped, or fails in CI."""
    if not INSTALLED.exists() or not any(SITE.glob(f"*/site-packages/{needs}")):
        missing = f"no .venv-clients with {needs or 'packages'}; `make install-clients` installs it"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    # Nothing of this machine's own: no keys, no other base URL, no tracing.
    clean = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "TMPDIR") if name in os.environ}
    done = subprocess.run(
        [str(argument) for argument in (PYTHON, *arguments)],
        env={**clean, **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done
