"""The command line: the programs of the server (``programs.py``), and the commands of a user, which are the client's
(``spool_client.commands``)."""

from __future__ import annotations

import click

from spool import __version__

_PROGRAMS = ("run", "web", "worker")
_OPERATIONS = ("keys", "switch", "status", "top", "doctor")


class _Commands(click.Group):
    """Loads the programs or the client's commands when they are asked for: each takes as long to load as the other."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's shape
        """The programs, then the client's commands, except those that the server's operations replace."""
        from spool_client.commands import COMMANDS

        return list(dict.fromkeys((*_PROGRAMS, *_OPERATIONS, *(command.name or "" for command in COMMANDS))))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - the same
        """A program or a command of the client."""
        if cmd_name in _PROGRAMS:
            from spool.cli.programs import COMMANDS
        elif cmd_name == "keys":
            from spool.cli.keys import keys

            return keys
        elif cmd_name == "switch":
            from spool.cli.switch import switch

            return switch
        elif cmd_name in ("status", "top"):
            from spool.cli import status

            return status.status if cmd_name == "status" else status.top
        elif cmd_name == "doctor":
            from spool.cli.doctor import doctor

            return doctor
        else:
            from spool_client.commands import COMMANDS
        return next((command for command in COMMANDS if command.name == cmd_name), None)


@click.group(cls=_Commands)
@click.version_option(__version__, prog_name="spool")
def spool() -> None:
    """Runs LLM prompts as jobs, and submits and follows them.

    The settings of run, web and worker are environment variables that begin with SPOOL_.
    """


def main() -> None:
    """The console script."""
    spool(prog_name="spool")
