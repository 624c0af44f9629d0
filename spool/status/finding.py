"""A finding of ``spool doctor``: one check, and what to do if something is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    """Spool works, and something may be lost or slow."""
    ERROR = "error"
    """Jobs are refused, or do not run."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check. ``remedy`` is empty if nothing is to be done."""

    check: str
    level: Level
    message: str
    remedy: str = ""


def ok(check: str, message: str) -> Finding:
    """Nothing is wrong."""
    return Finding(check, Level.OK, message)


def warning(check: str, message: str, remedy: str) -> Finding:
    """Something may be lost or slow."""
    return Finding(check, Level.WARNING, message, remedy)


def error(check: str, message: str, remedy: str) -> Finding:
    """Something does not work."""
    return Finding(check, Level.ERROR, message, remedy)
