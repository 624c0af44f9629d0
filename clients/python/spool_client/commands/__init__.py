"""The commands of a user of Spool, for a terminal and for pipes: what the ``spool`` of a laptop has.

Needs click: ``pip install 'spool-client[cli]'``. The server's ``spool`` has these commands beside its own.
"""

from __future__ import annotations

import click

from spool_client import __version__
from spool_client.commands.batch import batch
from spool_client.commands.completion import completion
from spool_client.commands.doctor import doctor
from spool_client.commands.jobs import cancel, delete, jobs, show, wait
from spool_client.commands.status import status
from spool_client.commands.submit import submit
from spool_client.commands.tail import tail
from spool_client.commands.top import top
from spool_client.commands.usage import usage

COMMANDS: tuple[click.Command, ...] = (
    submit,
    tail,
    wait,
    show,
    cancel,
    delete,
    jobs,
    batch,
    status,
    doctor,
    top,
    usage,
    completion,
)


@click.group()
@click.version_option(__version__, prog_name="spool")
def spool() -> None:
    """Submits prompts to a Spool server and follows their answers.

    The server is --url or SPOOL_URL. The key is SPOOL_KEY, or in the file that SPOOL_KEY_FILE names.
    """


for _command in COMMANDS:
    spool.add_command(_command)


def main() -> None:
    """The console script."""
    spool(prog_name="spool")
