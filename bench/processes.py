"""What processes use, from /proc: CPU seconds and proportional memory, children included; and whether they can be
reached."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def family(pid: int) -> Iterator[int]:
    """The process and everything that descends from it."""
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in children.read_text().split():
            yield from family(int(child))


def cpu_s(pid: int) -> float:
    """CPU seconds of the process and its children so far, to the clock tick (mostly 10 ms)."""
    ticks = 0
    for member in family(pid):
        fields = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / _TICKS_PER_S


def pss_kb(pid: int) -> int:
    """Proportional memory of the process and its children, KB: pages that several share count in parts."""
    total = 0
    for member in family(pid):
        for line in Path(f"/proc/{member}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total


def cpu_of(processes: Mapping[str, int]) -> dict[str, float]:
    """CPU seconds so far, by name."""
    return {name: cpu_s(pid) for name, pid in processes.items()}


def pss_of(processes: Mapping[str, int]) -> dict[str, int]:
    """Proportional memory in KB, by name."""
    return {name: pss_kb(pid) for name, pid in processes.items()}


def listens(port: int) -> bool:
    """Whether something takes connections at this port of 127.0.0.1."""
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True
