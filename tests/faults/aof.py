"""The append-only file of a stack's Redis, and how it loses its end: what a crash of the host does to it."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.stack import Stack

_NUMBER = re.compile(r"\.(\d+)\.incr\.aof$")


@dataclass(frozen=True, slots=True)
class Step:
    """What Redis does at once: a command, or a script's commands together. ``at``: where in the file it begins."""

    at: int
    commands: Sequence[Sequence[bytes]]

    def says(self, *words: str) -> bool:
        """Whether one command has all of these words."""
        wanted = {word.encode() for word in words}
        return any(wanted <= set(command) for command in self.commands)


class Aof:
    """The file that Redis appends to. It is cut while Redis does not run."""

    def __init__(self, stack: Stack) -> None:
        self._folder = stack.directory / "appendonlydir"

    @property
    def path(self) -> Path:
        """The newest one."""
        found = {int(match[1]): path for path in self._folder.iterdir() if (match := _NUMBER.search(path.name))}
        return found[max(found)]

    @property
    def size(self) -> int:
        """How long it is now. Redis writes to it before it answers, so at any moment this is what a crash keeps."""
        return self.path.stat().st_size

    def cut(self, size: int) -> int:
        """Keep so many bytes; how many were lost. A cut in the middle of a step loses all of it, as Redis loads it."""
        lost = self.size - size
        os.truncate(self.path, size)
        return lost

    def steps(self, since: int = 0) -> list[Step]:
        """What is in it from the offset ``since`` on, where a step must begin."""
        data = self.path.read_bytes()
        steps, at, begun, gathered = [], since, -1, list[list[bytes]]()
        while at < len(data):
            start = at
            command, at = _command(data, at)
            word = command[0].upper()
            if word == b"MULTI":
                begun, gathered = start, []
            elif word == b"EXEC":
                steps.append(Step(begun, gathered))
                begun = -1
            elif begun >= 0:
                gathered.append(command)
            else:
                steps.append(Step(start, [command]))
        return steps


def _command(data: bytes, at: int) -> tuple[list[bytes], int]:
    """The RESP array at ``at``, and where the next one is."""
    end = data.index(b"\r\n", at)
    count, at = int(data[at + 1 : end]), end + 2
    words = []
    for _ in range(count):
        end = data.index(b"\r\n", at)
        size, at = int(data[at + 1 : end]), end + 2
        words.append(data[at : at + size])
        at += size + 2
    return words, at
