"""The README says what is so: its settings table and its commands."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from spool.settings import known_variables
from tests.stack import ROOT, Stack

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_settings_table_is_what_the_code_says() -> None:
    """Every variable stands in the table with its default, and no other does."""
    rows = re.findall(r"^\| `(SPOOL_\w+)` \| (?:`([^`]*)`)? ?\|", README, re.MULTILINE)
    assert dict(rows) == known_variables()


def commands() -> list[str]:
    """The README's curl commands, one line each."""
    section = README.split("## Use it")[1].split("### Your own model")[0]
    lines = [line for block in re.findall(r"```sh\n(.*?)```", section, re.DOTALL) for line in block.splitlines()]
    return [line for line in lines if line.startswith(("curl", "JOB="))]


@pytest.mark.parametrize("command", [line for line in commands() if line.startswith("curl") and "ws://" not in line])
def test_command_works_as_printed(stack: Stack, command: str) -> None:
    """Each curl of the README succeeds against a running Spool and prints something."""
    job = stack.client().post("/jobs", json={"prompt": "x", "params": {"tokens": 20, "rate": 200}}).json()["id"]
    command = command.replace("http://127.0.0.1:8000", stack.webs[0].url)
    # A stream ends with its answer, which the demo would write at the speed of reading.
    command = command.replace('"prompt": "Hello"}', '"prompt": "Hello", "params": {"tokens": 20, "rate": 200}}')
    done = subprocess.run(
        ["/bin/sh", "-c", command.replace("curl ", "curl --fail ", 1)],
        env={"JOB": job, "PATH": "/usr/bin:/bin:/usr/local/bin"},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_files_that_the_readme_names_exist() -> None:
    """Links and paths lead somewhere."""
    for path in re.findall(r"\]\(([\w./-]+)\)", README) + re.findall(r"`((?:spool|tests|web)/[\w./]+)`", README):
        assert (ROOT / Path(path)).exists(), path


def test_files_that_contributing_names_exist() -> None:
    """Each path to a file in CONTRIBUTING.md leads to one, but for those of its examples."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:spool|tests|web|worker)/[\w./]+\.py)`", text)
    assert len(named) > 20
    missing = [path for path in named if not (ROOT / path).exists()]
    assert [path for path in missing if "NAME" not in path and "/reverse/" not in path] == []
