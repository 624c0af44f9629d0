"""``spool completion``: what a shell needs to complete this command."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from spool_client.commands.exits import Command
from spool_client.commands.output import write


@click.command(cls=Command)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Write a shell's completion script.

    For bash: eval "$(spool completion bash)" in ~/.bashrc.
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise click.BadParameter(f"click does not know the shell {shell}")
    write(kind(ctx.find_root().command, {}, "spool", "_SPOOL_COMPLETE").source() + "\n")
