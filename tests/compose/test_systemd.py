"""The systemd units, checked by systemd's own tools, and the Procfile."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import click
import pytest

from spool.cli import programs
from spool.settings import RunSettings, WebSettings, WorkerSettings, known_variables

COMPOSE = Path(__file__).parents[2] / "compose"
UNITS = sorted((COMPOSE / "systemd").iterdir())
ANALYZE = shutil.which("systemd-analyze")
INSTANCES = {"spool-web@.service": "spool-web@8001.service", "spool-worker@.service": "spool-worker@1.service"}

needs_systemd = pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed")


def options(unit: Path) -> dict[str, list[str]]:
    """The settings of a unit; some are named more than once."""
    found: dict[str, list[str]] = {}
    for name, value in re.findall(r"^(\w+)=(.*)$", unit.read_text(encoding="utf-8"), re.MULTILINE):
        found.setdefault(name, []).append(value)
    return found


@pytest.fixture(params=UNITS, ids=[unit.name for unit in UNITS])
def installed(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """One unit, or an instance of it, with a program that exists."""
    unit: Path = request.param
    text = unit.read_text(encoding="utf-8")
    assert "/opt/spool/bin/spool " in text
    path = tmp_path / INSTANCES.get(unit.name, unit.name)
    path.write_text(text.replace("/opt/spool/bin/spool", "/bin/true"), encoding="utf-8")
    return path


@needs_systemd
def test_unit_is_valid(installed: Path) -> None:
    """systemd knows every setting of the unit and its value."""
    done = subprocess.run(
        [str(ANALYZE), "verify", "--man=no", str(installed)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@needs_systemd
def test_unit_is_confined(installed: Path) -> None:
    """systemd's own score of a unit's exposure is at most 2 of 10, which it calls OK."""
    command = [str(ANALYZE), "security", "--offline=true", "--no-pager", "--threshold=20", str(installed)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_units_have_time_to_drain() -> None:
    """systemd waits longer than the programs' own drains before it kills them."""
    drains = {
        "spool.service": RunSettings.read({}).drain_s + WorkerSettings.read({}).worker_drain_s,
        "spool-web@.service": WebSettings.read({}).drain_s,
        "spool-worker@.service": WorkerSettings.read({}).worker_drain_s,
    }
    assert {unit.name for unit in UNITS} == set(drains)
    for unit in UNITS:
        (timeout_s,) = options(unit)["TimeoutStopSec"]
        assert float(timeout_s) > drains[unit.name] + 10


def test_units_have_the_same_sandbox() -> None:
    """A web and a worker alone are confined as both together; only ``spool run`` keeps files."""
    first, *others = [options(unit) for unit in UNITS]
    own = {"Description", "ExecStart", "ExecReload", "EnvironmentFile", "Environment", "TimeoutStopSec", "TasksMax"}
    own |= {"StateDirectory", "StateDirectoryMode"}
    for other in others:
        assert {n: v for n, v in first.items() if n not in own} == {n: v for n, v in other.items() if n not in own}


@pytest.mark.parametrize("name", ["Procfile", *(f"systemd/{unit.name}" for unit in UNITS)])
def test_commands_and_variables_exist(name: str) -> None:
    """Every command of Spool and every SPOOL_ variable that the files name exists."""
    text = (COMPOSE / name).read_text(encoding="utf-8")
    assert set(re.findall(r"SPOOL_[A-Z_]+", text)) <= set(known_variables())
    commands = re.findall(r"(?:exec |ExecStart=/opt/spool/bin/)spool (\w+)", text)
    assert commands
    assert all(isinstance(getattr(programs, command), click.Command) for command in commands)
