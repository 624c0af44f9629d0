"""What a stack holds: file descriptors, threads, greenlets, memory, Redis's clients, keys and members of indexes."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from tests.faults.checker import PREFIX
from tests.stack import ROOT, Process, Stack, wait_for

PROBE = signal.SIGRTMIN + 5
Figures = dict[str, float]

ROOM: Mapping[str, tuple[float, float]] = {
    # figure: what it may be above the baseline, as a part of it and in its unit
    "fds": (0, 10),
    "threads": (0, 3),
    "greenlets": (0, 5),
    "objects": (0, 5),
    "rss MB": (0.25, 30),
    "processes": (0, 0),
    "clients": (0, 10),
    "memory MB": (0.5, 20),
    "keys": (0, 0),
    "members": (0, 0),
}
"""Connections are opened when first needed, so a few more of them than after the warm-up are no leak."""


def probed(stack: Stack) -> None:
    """Have the stack's processes write down what they hold when asked; before they are started."""
    folder = stack.directory / "probe"
    folder.mkdir()
    for process in [*stack.webs, *stack.workers]:
        path = f"{ROOT / 'tests/faults/probe'}{os.pathsep}{process.env['PYTHONPATH']}"
        process.env = {**process.env, "PROBE_DIR": str(folder), "PYTHONPATH": path}


def measure(stack: Stack) -> Figures:
    """Everything, now."""
    figures: Figures = {}
    for process in [*stack.webs, *stack.workers]:
        for name, value in _process_figures(process, stack.directory / "probe").items():
            figures[f"{process.name} {name}"] = value
    figures.update(_redis_figures(stack))
    return figures


def above(baseline: Figures, now: Figures, forgiven: Mapping[str, float]) -> dict[str, str]:
    """What did not come back. ``forgiven``: what a figure may be at most, where it is known to grow."""
    found = {}
    for name, value in now.items():
        part, unit = next(room for suffix, room in ROOM.items() if name.endswith(suffix))
        most = max(baseline.get(name, 0) * (1 + part) + unit, forgiven.get(name, 0))
        if value > most:
            found[name] = f"{value:g}, and {baseline.get(name, 0):g} before"
    return found


def _process_figures(process: Process, folder: Path) -> Figures:
    pids = [process.pid, *_descendants(process.pid)]
    total: Counter[str] = Counter(processes=len(pids))
    for pid in pids:
        with suppress(FileNotFoundError, ProcessLookupError):
            status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
            lines = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
            total["rss MB"] += int(lines["VmRSS"].split()[0]) // 1024
            total["threads"] += int(lines["Threads"])
            total["fds"] += sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
            total.update(_ask(pid, folder))
    return dict(total)


def _ask(pid: int, folder: Path) -> dict[str, int]:
    """What the probe in a process says; a gunicorn master waits in a select that is interrupted, as hubs do."""
    path = folder / f"{pid}.json"
    path.unlink(missing_ok=True)
    os.kill(pid, PROBE)
    wait_for(lambda: path.exists() or not Path(f"/proc/{pid}").exists(), f"process {pid} says what it holds")
    return dict(json.loads(path.read_text(encoding="ascii"))) if path.exists() else {}


def _descendants(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text(encoding="ascii").split()):
            found += [child, *_descendants(child)]
    return found


def _redis_figures(stack: Stack) -> Figures:
    link, figures = stack.redis.link, Counter[str]()
    figures["redis memory MB"] = round(int(stack.redis.info("memory")["used_memory"]) / 2**20)
    for line in stack.redis.clients():
        name = dict(part.partition("=")[::2] for part in line.split())["name"]
        figures[f"redis {name or 'broker'} clients"] += 1
    cursor = b"0"
    while True:
        cursor, keys = link.call("SCAN", cursor, "COUNT", 1000)
        for key in map(bytes.decode, keys):
            family = _family(key)
            figures[f"redis {family} keys"] += 1
            if not family.startswith(("job", "batch")):
                figures[f"redis {family} members"] += _size(stack, key)
        if cursor == b"0":
            return dict(figures)


def _family(key: str) -> str:
    """``job:log`` for a job's log; the name of an index without whose it is."""
    first, *rest = key.removeprefix(PREFIX).split(":")
    return f"{first}:{rest[-1]}" if first in ("job", "batch") and len(rest) > 1 else first


def _size(stack: Stack, key: str) -> int:
    command = {b"zset": "ZCARD", b"list": "LLEN", b"set": "SCARD", b"hash": "HLEN"}
    kind = stack.redis.link.call("TYPE", key)
    return int(stack.redis.link.call(command[kind], key)) if kind in command else 0
