"""Applications in Python that have environments of their own, ``.venv-clients`` and ``.venv-clients-NAME``."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.stack import ROOT

ENVIRONMENTS = ("haystack", "instructor", "litellm", "microsoft", "aider")
"""Environments beside the common one: their packages want other versions of the same packages."""
_STARTS_WITHIN_S = 240
"""Loading some of these packages takes a minute on a busy machine."""


def run(*arguments: str | Path, needs: str = "", environment: str = "", **env: str) -> subprocess.CompletedProcess[str]:
    """Run a program of an environment to its end, and fail with its output if that is not a success. ``needs``: a
    package, without which the test is skipped, or fails in CI. ``environment``: one of ``ENVIRONMENTS``."""
    programs = programs_of(environment, needs)
    done = subprocess.run(
        [str(argument) for argument in (programs / "python", *arguments)],
        env={**clean(), **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_STARTS_WITHIN_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def programs_of(environment: str, needs: str = "") -> Path:
    """The folder with the programs of an environment. Skips the test without them, as ``run`` does."""
    name = f".venv-clients-{environment}" if environment else ".venv-clients"
    if not (ROOT / name / "installed").exists() or not any((ROOT / name / "lib").glob(f"*/site-packages/{needs}")):
        missing = f"no {name} with {needs or 'packages'}; `make clients` installs it"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    return ROOT / name / "bin"


def clean() -> dict[str, str]:
    """An environment with nothing of this machine's own: no keys, no other base URL, no tracing."""
    return {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "TMPDIR") if name in os.environ}
