"""Commands whose errors are one line each: exit code 2 for a wrong setting, 1 for every other error of Spool."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from spool.errors import SettingsError, SpoolError


@contextmanager
def _one_line() -> Iterator[None]:
    try:
        yield
    except SettingsError as exc:
        click.echo(f"spool: {exc}", err=True)
        sys.exit(2)
    except SpoolError as exc:
        click.echo(f"spool: {exc}", err=True)
        sys.exit(1)


def printable(line: str) -> str:
    """The line without control characters, with which a terminal would be rewritten: upstreams and callers wrote parts
    of it."""
    return "".join(char if char.isprintable() else "\ufffd" for char in line)


class OneLineErrors(click.Group):
    """A group of such commands."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        with _one_line():
            return super().invoke(ctx)


class OneLineErrorsCommand(click.Command):
    """One such command."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run it."""
        with _one_line():
            return super().invoke(ctx)
