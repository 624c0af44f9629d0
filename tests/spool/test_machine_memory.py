"""How much memory there is: the machine's, a container's, and sizes in words."""

from __future__ import annotations

from pathlib import Path

import pytest

from spool.errors import SettingsError
from spool.machine_memory import memory_bytes, size_bytes
from spool.settings import RunSettings

MIB = 1024 * 1024


def write(path: Path, text: str) -> None:
    """The file, and the directories above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_memory_without_a_limit(tmp_path: Path) -> None:
    """Where no control group limits it, the memory is the machine's."""
    assert memory_bytes(tmp_path) > 64 * MIB
    write(tmp_path / "proc/self/cgroup", "0::/a\n")
    write(tmp_path / "sys/fs/cgroup/a/memory.max", "max\n")
    assert memory_bytes(tmp_path) == memory_bytes(tmp_path / "nowhere")


@pytest.mark.parametrize("group", ["/", "/pod/app"])
@pytest.mark.parametrize("limited", ["", "pod/"])
def test_memory_of_a_container(tmp_path: Path, group: str, limited: str) -> None:
    """The smallest limit counts, of the process's own group and of those above it."""
    write(tmp_path / "proc/self/cgroup", f"0::{group}\n")
    write(tmp_path / "sys/fs/cgroup" / limited / "memory.max", f"{48 * MIB}\n")
    write(tmp_path / "sys/fs/cgroup/pod/app/memory.max", f"{64 * MIB}\n")
    inside = group.startswith(f"/{limited}".rstrip("/"))
    assert (memory_bytes(tmp_path) == 48 * MIB) == inside


def test_memory_of_a_container_of_the_first_version(tmp_path: Path) -> None:
    """Its limit stands in one file."""
    write(tmp_path / "sys/fs/cgroup/memory/memory.limit_in_bytes", f"{48 * MIB}\n")
    assert memory_bytes(tmp_path) == 48 * MIB


@pytest.mark.parametrize(
    ("text", "size"),
    [("50%", 500), ("100%", 1000), ("4gb", 4 * 1024 * MIB), ("512MB", 512 * MIB), ("1.5k", 1536), ("0", 0), ("77", 77)],
)
def test_size(text: str, size: int) -> None:
    """A size with a unit of 1,024, or a part of the memory."""
    assert size_bytes(text, 1000) == size


@pytest.mark.parametrize("text", ["half", "-1", "0%", "101%", "50 % of it", "4xb"])
def test_size_that_is_none(text: str) -> None:
    """Anything else is refused with the variable's name."""
    with pytest.raises(SettingsError, match="SPOOL_EMBEDDED_MAXMEMORY"):
        RunSettings.read({"SPOOL_EMBEDDED_MAXMEMORY": text})
