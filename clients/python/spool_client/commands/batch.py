"""``spool batch``: submit a file of JSON lines, watch it, and get its results."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import click

from spool_client.calls import new_key
from spool_client.client import Client
from spool_client.commands.connection import client_of, json_option, url_option
from spool_client.commands.exits import FAILED, USAGE, Command, Interrupted, say, stop
from spool_client.commands.output import write, write_json
from spool_client.commands.progress import Progress
from spool_client.documents import BATCH_ENDS, Batch

_OUTPUT = click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Append results after those in the file."
)


@click.group()
def batch() -> None:
    """Many prompts in one request."""


@batch.command(cls=Command)
@click.argument("file", type=click.File("rb"))
@_OUTPUT
@click.option("-d", "--detach", is_flag=True, help="Do not wait for the end.")
@click.option("--idempotency-key", default="", help="Makes a repetition of this command safe.")
@json_option("The batch's record.")
@url_option
@click.pass_obj
def submit(interrupted: Interrupted, /, file: BinaryIO, output: Path | None, detach: bool, **options: Any) -> None:
    """Submit FILE, one JSON object a line, and wait for its end. Writes the batch's id.

    A line is what POST /jobs takes: {"prompt": "Hello", "model": "demo"}. All lines are accepted, or none. - reads
    stdin.
    """
    lines = checked(file.read())
    key = options["idempotency_key"] or new_key()
    interrupted.hint = f"the same command with --idempotency-key {key}"
    if sys.stderr.isatty():
        say(f"submitting {len(lines.splitlines()):,} lines")
    with client_of(options["url"]) as client:
        found = client.batches.submit(lines, idempotency_key=key)
        _write(found, as_json=options["as_json"])
        if output is not None:
            _save(client, found, output, interrupted)
        elif not detach:
            _wait(client, found, interrupted)


@batch.command(cls=Command)
@click.argument("batch_id", metavar="BATCH")
@click.option(
    "--after",
    type=click.IntRange(min=0),
    default=0,
    help="Skip the results up to this `cursor`, which an interrupt prints.",
)
@click.option("--follow/--no-follow", default=True, help="Wait for the jobs that have not ended (default).")
@_OUTPUT
@url_option
@click.pass_obj
def results(interrupted: Interrupted, batch_id: str, after: int, follow: bool, output: Path | None, url: str) -> None:
    """Write ended jobs with their text, in the order of their ends.

    Each line is a JSON document.
    """
    with client_of(url) as client:
        found = client.batches.get(batch_id)
        if output is not None:
            _save(client, found, output, interrupted, follow=follow)
            return
        interrupted.hint = f"spool batch results {batch_id} --after {after}"
        for job in client.batches.results(found, after=after, follow=follow):
            write_json(job)
            after = cursor_of(job, after + 1)
            interrupted.hint = f"spool batch results {batch_id} --after {after}"


@batch.command(cls=Command)
@click.argument("batch_id", metavar="BATCH")
@json_option("The batch's record.")
@url_option
@click.pass_obj
def wait(interrupted: Interrupted, batch_id: str, as_json: bool, url: str) -> None:
    """Wait until all jobs have ended, with a progress bar. Exits with 1 if one did not succeed."""
    with client_of(url) as client:
        found = client.batches.get(batch_id)
        if as_json:
            interrupted.hint = f"spool batch wait {batch_id}"
            write_json(client.batches.wait(found))
        else:
            _wait(client, found, interrupted)


@batch.command(cls=Command)
@click.argument("batch_id", metavar="BATCH")
@json_option("The batch's record.")
@url_option
def status(batch_id: str, as_json: bool, url: str) -> None:
    """Write how many jobs are in each state."""
    with client_of(url) as client:
        found = client.batches.get(batch_id)
    if as_json:
        write_json(found)
    else:
        write("".join(f"{name}\t{count}\n" for name, count in found["counts"].items()))


@batch.command(cls=Command)
@click.argument("batch_id", metavar="BATCH")
@json_option("The batch's record.")
@url_option
def cancel(batch_id: str, as_json: bool, url: str) -> None:
    """Request the end of all jobs that have not ended."""
    with client_of(url) as client:
        _write(client.batches.cancel(batch_id), as_json=as_json)


def checked(data: bytes) -> bytes:
    """The lines, if each is a JSON object; exits with the number of the first that is not."""
    for number, line in enumerate(data.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            is_object = isinstance(json.loads(line), dict)
        except ValueError as exc:
            stop(USAGE, f"line {number} is not JSON: {exc}")
        if not is_object:
            stop(USAGE, f"line {number} is not a JSON object")
    return data


def _wait(client: Client, found: Batch, interrupted: Interrupted) -> None:
    interrupted.hint = f"spool batch wait {found['id']}"
    with Progress(found["total"]) as progress:
        ended = client.batches.wait(found, on_progress=progress.show)
    _end(ended)


def _save(client: Client, found: Batch, output: Path, interrupted: Interrupted, *, follow: bool = True) -> None:
    """Append the results that the file lacks, and wait for the rest."""
    interrupted.hint = f"spool batch results {found['id']} -o {output}"
    with _appended(output, found["id"]) as (file, count, after), Progress(found["total"]) as progress:
        progress.reach(count)
        for job in client.batches.results(found, after=after, follow=follow, on_progress=progress.note):
            file.write(json.dumps(job, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")
            count += 1
            progress.reach(count)
    _end(client.batches.get(found))


@contextmanager
def _appended(path: Path, batch_id: str) -> Iterator[tuple[BinaryIO, int, int]]:
    """The file, open behind its last whole line, how many lines it has, and the cursor of that line. An interrupt may
    have cut the last one."""
    with path.open("a+b") as file:
        file.seek(0)
        count, end, last = 0, 0, b""
        for line in file:
            if not line.endswith(b"\n"):
                break
            if count == 0 and _batch_of(line) != batch_id:
                stop(USAGE, f"{path} has other results than those of batch {batch_id}; name another file")
            count, end, last = count + 1, end + len(line), line
        file.truncate(end)
        yield file, count, cursor_of(json.loads(last), count) if last else 0
        file.flush()
        os.fsync(file.fileno())


def cursor_of(job: Mapping[str, Any], count: int) -> int:
    """The cursor of a result; that of a server of an older version, which counts them, is ``count``."""
    cursor: int = job.get("cursor", count)
    return cursor


def _batch_of(line: bytes) -> object:
    try:
        job = json.loads(line)
    except ValueError:
        return None
    return job.get("batch") if isinstance(job, dict) else None


def _write(found: Batch, *, as_json: bool) -> None:
    if as_json:
        write_json(found)
    else:
        write(f"{found['id']}\n")


def _end(ended: Batch) -> None:
    counts = ended["counts"]
    if sys.stderr.isatty():
        say(", ".join(f"{counts[name]:,} {name}" for name in BATCH_ENDS if counts.get(name)) or "nothing has ended")
    if any(counts.get(name) for name in BATCH_ENDS[1:]):
        stop(FAILED)
