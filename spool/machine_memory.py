"""The memory available to this process: the machine's, or less if a control group limits it."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

_UNITS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:(%)|([kmgt]?)i?b?)", re.IGNORECASE)


def memory_bytes(root: Path = Path("/")) -> int:
    """Bytes of memory that this process may use; ``root`` is the directory of /proc and /sys."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([machine, *_limits(root)])


def parse_size(text: str) -> float | int:
    """Parse ``"4gb"`` and ``"0"`` into bytes (an int), ``"50%"`` into a fraction (a float). Raises ``ValueError``."""
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise ValueError("must be a size such as 4gb or 512mb, a part of the memory such as 50%, or 0 for no limit")
    number = float(found[1])
    if not found[2]:
        return int(number * _UNITS[found[3].lower()])
    if not 0 < number <= 100:
        raise ValueError("a part of the memory must be above 0% and at most 100%")
    return number / 100


def size_bytes(text: str, memory: int) -> int:
    """The size ``text`` in bytes, for ``memory`` bytes in all. Raises ``ValueError``."""
    size = parse_size(text)
    return int(size * memory) if isinstance(size, float) else size


def _limits(root: Path) -> list[int]:
    """The control groups' limits: of this process's group and its ancestors (version 2), or in total (version 1)."""
    found = [_number(root / "sys/fs/cgroup/memory/memory.limit_in_bytes")]
    with suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines():
            hierarchy, _, group = line.split(":", 2)
            if hierarchy == "0":
                inner = root / "sys/fs/cgroup" / group.strip("/")
                above = [inner, *inner.parents]
                found += [_number(one / "memory.max") for one in above if (root / "sys/fs") in one.parents]
    return [number for number in found if number is not None]


def _number(path: Path) -> int | None:
    with suppress(OSError, ValueError):
        number = int(path.read_text(encoding="ascii"))
        return number if number > 0 else None
    return None
