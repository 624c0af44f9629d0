"""Groups of commands whose errors are one line each."""

from __future__ import annotations

import sys
from typing import Any

import click

from spool.errors import SettingsError, SpoolError


class OneLineErrors(click.Group):
    """Exits with 2 for a wrong setting, with 1 for every other error of Spool."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except SettingsError as exc:
            click.echo(f"spool: {exc}", err=True)
            sys.exit(2)
        except SpoolError as exc:
            click.echo(f"spool: {exc}", err=True)
            sys.exit(1)
