"""The supervisor's output: complete lines of every program, prefixed with its name."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from typing import BinaryIO

_COLOURS = (36, 32, 33, 35, 34, 96, 92, 93, 95, 94)
"""ANSI foregrounds, one per name in the order of ``names``; a colour has no meaning."""


class Console:
    """Writes lines such as ``web     | …``. If its output is closed, lines are dropped and Spool continues."""

    def __init__(self, out: BinaryIO, names: Iterable[str], *, colour: bool) -> None:
        names = list(dict.fromkeys(names))
        width = max((len(name) for name in names), default=0)
        self._out: BinaryIO | None = out
        self._prefixes = {
            name: _paint(f"{name:<{width}} | ", _COLOURS[i % len(_COLOURS)] if colour else None).encode()
            for i, name in enumerate(names)
        }

    def write(self, name: str, lines: Iterable[bytes]) -> None:
        """Write ``lines`` of the program ``name`` in one piece."""
        prefix = self._prefixes[name]
        data = b"".join(prefix + line + b"\n" for line in lines)
        if not data or self._out is None:
            return
        try:
            self._out.write(data)
            self._out.flush()
        except OSError:
            self._out = None

    def say(self, name: str, text: str) -> None:
        """Write the supervisor's own text under ``name``."""
        self.write(name, [line.encode() for line in text.splitlines()])


def wants_colour(out: BinaryIO, environ: Mapping[str, str]) -> bool:
    """Whether to use colour: only on a terminal, and not if NO_COLOR is set (no-color.org)."""
    return out.isatty() and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


def stdout_console(names: Iterable[str]) -> Console:
    """The console on standard output."""
    out = sys.stdout.buffer
    return Console(out, names, colour=wants_colour(out, os.environ))


def _paint(text: str, colour: int | None) -> str:
    return text if colour is None else f"\033[{colour}m{text}\033[0m"
