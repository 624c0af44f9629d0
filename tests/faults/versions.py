"""A stack whose processes run this version of Spool or the one before."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from spool.jobs.job import SCHEMA
from tests.stack import ROOT, Process, Stack, Web, wait_for

_STOPPED_WITHIN_S = _STARTED_WITHIN_S = 180.0
"""With other programs on the machine; alone, both take some seconds."""


def version_before() -> str | None:
    """The commit before the one that gave records their present schema, or ``UPGRADE_FROM``; None without history."""
    wanted = os.environ.get("UPGRADE_FROM")
    if wanted:
        return wanted
    found = _git("log", "-1", "--format=%H", f"-SSCHEMA = {SCHEMA}\n", "--", "spool/jobs/job.py").stdout.decode()
    return f"{found.strip()}~1" if found.strip() else None


def unpack(version: str, directory: Path) -> bool:
    """Write the files of a version; False if the history does not have it."""
    archive = _git("archive", version)
    if archive.returncode:
        return False
    subprocess.run(["tar", "-x", "-C", directory], input=archive.stdout, check=True)
    return True


class Versions:
    """Chooses for each process of a stack its version: this tree, or ``before``, which all have at first."""

    def __init__(self, stack: Stack, before: Path) -> None:
        self.stopped_s: list[float] = []
        """The seconds that each stop took."""
        self._stack = stack
        self._before = before
        self._own = {process.name: (process.argv, process.env) for process in (*stack.webs, *stack.workers)}
        for process in (*stack.webs, *stack.workers):
            self.use(process, before=True)

    def use(self, process: Process, *, before: bool) -> None:
        """Choose the version with which the process starts next."""
        argv, env = self._own[process.name]
        if before:
            here, there = str(ROOT / "web" / "gunicorn.conf.py"), str(self._before / "web" / "gunicorn.conf.py")
            # `python -m` looks for modules in its directory first.
            argv = ["env", "-C", str(self._before), *(there if part == here else part for part in argv)]
            env = {**env, "PYTHONPATH": str(self._before)}
        process.argv, process.env = argv, env

    def replace(self, process: Process, *, before: bool) -> None:
        """Stop a process in order, and start it with a version; returns when it serves."""
        began = time.monotonic()
        assert process.stop(_STOPPED_WITHIN_S) == 0, f"{process.name} did not stop in order"
        self.stopped_s.append(time.monotonic() - began)
        self.use(process, before=before)
        process.start()
        if isinstance(process, Web):
            wait_for(process.is_ready, f"{process.name} is ready", _STARTED_WITHIN_S)
        else:
            wait_for(self._all_workers_live, f"{process.name} is ready", _STARTED_WITHIN_S)

    def _all_workers_live(self) -> bool:
        return self._stack.worker_count() == len(self._stack.workers)


def _git(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=False)
