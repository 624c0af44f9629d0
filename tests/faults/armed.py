"""Processes of a stack with a fail point armed, and whether they got there."""

from __future__ import annotations

import re

from spool.fail_points import VARIABLE
from tests.stack import Process

_SAID = re.compile(r"^fail point (\S+): (\w+) \d+$", re.MULTILINE)


class Armed:
    """One process of a stack. It is armed for its next start, and once: the start after that is an ordinary one."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.value = ""
        self._since = 0

    def start(self, value: str = "") -> None:
        """End it, and start it with such a fail point, or none."""
        if self.process.running:
            self.process.kill()
        unarmed = {name: text for name, text in self.process.env.items() if name != VARIABLE}
        self.value = value
        self._since = self.process.output.stat().st_size if self.process.output.exists() else 0
        self.process.env = {**unarmed, VARIABLE: value} if value else unarmed
        self.process.start()

    @property
    def happened(self) -> list[tuple[str, str]]:
        """Point and action of all that has happened since its start, its children included."""
        with self.process.output.open(errors="replace") as output:
            output.seek(self._since)
            return _SAID.findall(output.read())
