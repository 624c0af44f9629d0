"""Checks of this machine."""

from __future__ import annotations

import resource
import socket
from pathlib import Path

import pytest

from spool.settings import RunSettings
from spool.status.finding import Level
from spool.status.machine_checks import check_directory, check_files, check_machine, check_port, check_space


def test_directory_that_cannot_be_written(tmp_path: Path) -> None:
    """A directory that can be made is good; one below a file is an error that names both."""
    assert check_directory(tmp_path / "new" / "data").level is Level.OK
    (tmp_path / "file").touch()
    found = check_directory(tmp_path / "file" / "data")
    assert (found.level, str(tmp_path / "file") in found.message) == (Level.ERROR, True)


@pytest.mark.parametrize(("needed", "level"), [(1, Level.OK), (2**62, Level.ERROR)], ids=["room", "full"])
def test_space(tmp_path: Path, needed: int, level: Level) -> None:
    """Less room than needed is an error."""
    assert check_space(tmp_path / "data", needed).level is level


@pytest.mark.parametrize(
    ("limit", "level"),
    [(64, Level.WARNING), (9050, Level.OK), (resource.RLIM_INFINITY, Level.OK)],
    ids=["64", "enough", "any"],
)
def test_open_files(limit: int, level: Level) -> None:
    """With too few, the number of streams that remains is named."""
    found = check_files(4000, limit)
    assert (found.level, "at most 7 streams" in found.message) == (level, limit == 64)


def test_port_of_another_program() -> None:
    """A port that another program has is an error; a free one is not."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        assert check_port(RunSettings(port=port)).level is Level.ERROR
    assert check_port(RunSettings(port=0)).level is Level.OK


def test_machine_with_its_own_redis(tmp_path: Path) -> None:
    """With the embedded server the data directory is checked, too."""
    checks = [one.check for one in check_machine(RunSettings(data_dir=tmp_path, port=0))]
    assert checks == ["data-directory", "disk-space", "temporary-directory", "open-files", "port"]
