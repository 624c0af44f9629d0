"""Text of an answer, records and tables, right for a terminal, a file and a pipe."""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click


def write(text: str) -> None:
    """Write to stdout, at once."""
    sys.stdout.write(text)
    sys.stdout.flush()


def write_json(document: Mapping[str, Any]) -> None:
    """One JSON document on a line."""
    write(json.dumps(document, ensure_ascii=False, separators=(",", ":")) + "\n")


def on_terminal() -> bool:
    """Whether a person reads stdout."""
    return sys.stdout.isatty()


class Erasable:
    """Where this command's output began in a regular file, so that it can be taken back."""

    def __init__(self) -> None:
        self._start: int | None = None
        try:
            descriptor = sys.stdout.fileno()
            if stat.S_ISREG(os.fstat(descriptor).st_mode) and not _appends(descriptor):
                sys.stdout.flush()
                self._start = os.lseek(descriptor, 0, os.SEEK_CUR)
        except (OSError, ValueError):
            pass

    def erase(self) -> bool:
        """Take back what was written; False if that is impossible."""
        if self._start is None:
            return False
        sys.stdout.flush()
        os.lseek(sys.stdout.fileno(), self._start, os.SEEK_SET)
        os.ftruncate(sys.stdout.fileno(), self._start)
        return True


def _appends(descriptor: int) -> bool:
    import fcntl

    return bool(fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_APPEND)


def table(names: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Columns for a person, tab-separated values without a header for a pipe."""
    texts = [[_plain(cell) for cell in row] for row in rows]
    if not on_terminal():
        for row in texts:
            write("\t".join(row) + "\n")
        return
    widths = [max(map(len, column)) for column in zip(names, *texts, strict=True)]
    for row in [list(names), *texts]:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _plain(cell: object) -> str:
    """One line without control characters: a server's text must not steer the terminal."""
    text = "" if cell is None else str(cell)
    return "".join(character if character.isprintable() else " " for character in text)
