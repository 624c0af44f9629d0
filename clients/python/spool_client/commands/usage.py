"""``spool usage``: tokens, jobs and seconds by day, model, owner and credential."""

from __future__ import annotations

from typing import Any

import click

from spool_client.commands.connection import client_of, json_option, url_option
from spool_client.commands.exits import Command
from spool_client.commands.output import table, write_json

_FIGURES = ("input_tokens", "output_tokens", "jobs", "attempts", "unsuccessful_attempts", "seconds")


@click.command(cls=Command)
@click.option("--from", "since", default="", metavar="DAY", help="The first day (UTC); else that of the month.")
@click.option("--to", "until", default="", metavar="DAY", help="The last day (UTC), included; else today.")
@click.option("--group", default="day,model", show_default=True, help="Some of day, model, owner, credential.")
@json_option("The whole document.")
@url_option
def usage(since: str, until: str, group: str, as_json: bool, url: str) -> None:
    """Write what ended attempts have used. A key with the scope admin sees all owners.

    In a pipe: tab-separated, without a header.
    """
    with client_of(url) as client:
        found = client.usage(since=since, until=until, group=group)
    if as_json:
        write_json(found)
    else:
        heads = [name.upper().replace("_", " ") for name in (*found["group"], *_FIGURES)]
        table(heads, [_row(found["group"], row) for row in found["usage"]])


def _row(group: list[str], row: dict[str, Any]) -> list[object]:
    return [row[name] for name in (*group, *_FIGURES)]
