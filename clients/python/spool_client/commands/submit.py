"""``spool submit``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from spool_client.calls import new_key
from spool_client.commands.connection import client_of, json_option, url_option
from spool_client.commands.exits import USAGE, Command, Interrupted, say, stop
from spool_client.commands.output import on_terminal, write, write_json
from spool_client.commands.tail import follow_to_end


def pairs(values: tuple[str, ...], option: str) -> dict[str, Any]:
    """``NAME=VALUE`` options as a dictionary. A value that is JSON counts as JSON, any other as text."""
    found: dict[str, Any] = {}
    for value in values:
        name, separator, text = value.partition("=")
        if not name or not separator:
            stop(USAGE, f"{option} {value}: must be NAME=VALUE")
        try:
            found[name] = json.loads(text)
        except ValueError:
            found[name] = text
    return found


def prompt_of(argument: str | None, file: str | None) -> str:
    """The prompt: the argument, a file, or stdin (``-``, or no argument while stdin is no terminal)."""
    if argument is not None and file is not None:
        stop(USAGE, "give the prompt or --file, not both")
    if argument is not None and argument != "-":
        return argument
    if file is not None and file != "-":
        try:
            return Path(file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as exc:
            stop(USAGE, f"--file {file}: {exc}")
    if argument is None and file is None and sys.stdin.isatty():
        stop(USAGE, "give a prompt, --file FILE, or text on stdin")
    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError as exc:
        stop(USAGE, f"stdin is not UTF-8: {exc}")


@click.command(cls=Command)
@click.argument("prompt", required=False)
@click.option("--file", help="Read the prompt from a file; - for stdin.")
@click.option("-m", "--model", help="The model; else the server's default.")
@click.option("-p", "--param", multiple=True, metavar="NAME=VALUE", help="A parameter for the model; repeatable.")
@click.option("--metadata", multiple=True, metavar="NAME=VALUE", help="Stored with the job; repeatable.")
@click.option("--priority", type=click.Choice(["interactive", "batch"]), help="The queue's class; else interactive.")
@click.option("--continue-from", metavar="JOB", help="Continue the conversation of an ended job.")
@click.option("--timeout", "timeout_s", type=float, metavar="SECONDS", help="From submit to end.")
@click.option("--idempotency-key", default="", help="Makes a repetition of this command safe.")
@click.option("-f", "--follow", is_flag=True, help="Write the answer as it arrives.")
@json_option("The job's record; with --follow, each entry on a line.")
@url_option
@click.pass_obj
def submit(interrupted: Interrupted, /, **options: Any) -> None:
    """Submit a prompt. Writes the job's id, or with --follow its answer.

    PROMPT may come from stdin: echo "Hello" | spool submit --follow
    """
    fields: dict[str, Any] = {
        name: options[name] for name in ("model", "priority", "continue_from", "timeout_s") if options[name] is not None
    }
    for name, option in (("params", "param"), ("metadata", "metadata")):
        if options[option]:
            fields[name] = pairs(options[option], f"--{option}")
    prompt = prompt_of(options["prompt"], options["file"])
    key = options["idempotency_key"] or new_key()
    interrupted.hint = f"the same command with --idempotency-key {key}"
    with client_of(options["url"]) as client:
        job = client.submit(prompt, idempotency_key=key, **fields)
        interrupted.hint = f"spool tail {job['id']}"
        if options["follow"]:
            if sys.stderr.isatty():
                say(f"job {job['id']}")
            follow_to_end(client, job["id"], 0, interrupted, as_json=options["as_json"])
        elif options["as_json"]:
            write_json(job)
        else:
            write(f"{job['id']}\n")
            if on_terminal():
                say(f"follow it: spool tail {job['id']}")
