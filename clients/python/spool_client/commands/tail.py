"""``spool tail``, and the answer of ``spool submit --follow``."""

from __future__ import annotations

import sys
from typing import NoReturn

import click

from spool_client.client import Client, Follow
from spool_client.commands.connection import client_of, json_option, url_option
from spool_client.commands.exits import RESTARTED, Command, Interrupted, code_of, say, stop
from spool_client.commands.output import Erasable, on_terminal, write, write_json
from spool_client.documents import Document, Entry, has_ended


@click.command(cls=Command)
@click.argument("job")
@click.option(
    "--after",
    type=click.IntRange(min=0),
    default=0,
    help="Begin after this entry: the number that an interrupt prints.",
)
@json_option("Each entry on a line.")
@url_option
@click.pass_obj
def tail(interrupted: Interrupted, job: str, after: int, as_json: bool, url: str) -> None:
    """Write an answer: the text so far, then the rest as it arrives. Exit codes: 0 succeeded, 1 failed, 5 cancelled."""
    with client_of(url) as client:
        follow_to_end(client, job, after, interrupted, as_json=as_json)


def follow_to_end(client: Client, job: str, after: int, interrupted: Interrupted, *, as_json: bool) -> NoReturn:
    """Follow to the end, write, and exit as the job ended."""
    follow = client.follow(job, after=after, on_change=Notes())
    if as_json:
        _write_entries(follow, after, interrupted)
    else:
        # Text that a later attempt has replaced is not written, so what there is comes as a whole.
        Text(follow, after, interrupted, caught_up_at=client.job(job)["last_entry"]).write()
    error = follow.error
    stop(code_of(follow.status), f"{follow.status}: {error['code']}: {error['message']}" if error else "")


def _write_entries(follow: Follow, after: int, interrupted: Interrupted) -> None:
    interrupted.hint = f"spool tail {follow.id} --json --after {after}"
    for document in follow:
        write_json(document.as_dict())
        if isinstance(document, Entry):
            interrupted.hint = f"spool tail {follow.id} --json --after {document.id}"


class Text:
    """Writes the text that counts, each piece once."""

    def __init__(self, follow: Follow, after: int, interrupted: Interrupted, *, caught_up_at: int) -> None:
        self._follow = follow
        self._interrupted = interrupted
        self._caught_up_at = caught_up_at
        self._has_earlier = after > 0
        """Whether an earlier command has written text of this job."""
        self._written = ""
        self._output = Erasable()
        self._come_back(after)

    def write(self) -> None:
        """Follow the log to its end."""
        for document in self._follow:
            self._take(document)
        self._catch_up()
        if on_terminal() and self._written and not self._written.endswith("\n"):
            write("\n")

    def _take(self, document: Document) -> None:
        follow = self._follow
        if document.kind == "restarted":
            self._restart()
        if follow.last_entry < self._caught_up_at and not has_ended(follow.status):
            return
        self._catch_up()

    def _catch_up(self) -> None:
        """Write the part of the text that is not written. A snapshot may differ from that, like a restart."""
        text = self._follow.text
        if not text.startswith(self._written):
            self._restart()
        write(text[len(self._written) :])
        self._written = text
        self._come_back(self._follow.last_entry)

    def _restart(self) -> None:
        if self._written or self._has_earlier:
            if on_terminal():
                write("\n")
                say("the answer restarted; the text above no longer counts")
            elif self._has_earlier or not self._output.erase():
                again = f"spool tail {self._follow.id}"
                stop(RESTARTED, f"the answer restarted, and the text written before no longer counts. Again: {again}")
        self._written, self._has_earlier = "", False

    def _come_back(self, entry: int) -> None:
        after = f" --after {entry}" if entry else ""
        self._interrupted.hint = f"spool tail {self._follow.id}{after}"


class Notes:
    """Reports on a terminal when the connection is lost and restored."""

    def __init__(self) -> None:
        self._is_away = False

    def __call__(self, follow: Follow) -> None:
        if not sys.stderr.isatty():
            return
        if follow.connection == "waiting" and follow.trouble is not None and not self._is_away:
            self._is_away = True
            say(f"{follow.trouble}; coming back")
        elif follow.connection == "live" and self._is_away:
            self._is_away = False
            say(f"back after entry {follow.last_entry}")
